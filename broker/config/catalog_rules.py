"""What a catalog must satisfy and a JSON Schema cannot say.

Belongs here: one function per rule, each over the document as it was written, so that a problem
names the line. The document satisfies ``catalog.schema.json`` by then.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from broker.config.problems import did_you_mean
from broker.config.units import parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.config.documents import Document, DocumentPath
    from broker.config.problems import Problem

DEFAULT_ROLES = {"read-write": "write", "read-only": "read"}
"""What a plan offers that says nothing about roles."""

_MAX_TIMEOUT = timedelta(days=24)
"""PostgreSQL manual, "Client Connection Defaults": timeouts are 32-bit milliseconds."""

_MAX_TEMP_FILE_LIMIT = (2**31 - 1) * 1024
"""PostgreSQL manual, "Resource Consumption": ``temp_file_limit`` is 32-bit kilobytes."""

_MAX_TIME_TO_LIVE = timedelta(days=36500)
"""The end of credentials, and of what is kept, has to be a date that every calendar knows."""


def broken_rules(document: Document) -> list[Problem]:
    """Return a problem for everything that the schema lets pass and the broker cannot use."""
    # What an anchor brings into several plans is one problem on one line.
    return list(dict.fromkeys(_broken_rules(document)))


def _broken_rules(document: Document) -> Iterator[Problem]:
    offerings = document.data["offerings"]
    yield from _unique_ids(document)
    yield from _unique_names(document, offerings, ("offerings",), "offering")
    for number, offering in enumerate(offerings):
        path: DocumentPath = ("offerings", number, "plans")
        yield from _unique_names(document, offering["plans"], path, "plan of this offering")
        for index, plan in enumerate(offering["plans"]):
            yield from _update_to(document, plan, offering["plans"], (*path, index, "update_to"))
            yield from _limits(document, plan["limits"], (*path, index, "limits"))
            yield from _extensions(
                document, plan.get("extensions", {}), (*path, index, "extensions")
            )
            yield from _bindings(document, plan.get("bindings", {}), (*path, index, "bindings"))
            yield from _retention(document, plan, (*path, index, "deleted_retention"))


def _unique_ids(document: Document) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for path, item in _identified(document.data["offerings"]):
        # Kubernetes makes object names of ids, and those know no upper case.
        key = item["id"].lower()
        if key in seen:
            message = f"the id {item['id']!r} is already used at {seen[key]}; make a new GUID."
            yield document.problem(path, message)
        seen.setdefault(key, document.where(path))


def _identified(offerings: list[dict[str, Any]]) -> Iterator[tuple[DocumentPath, dict[str, Any]]]:
    for number, offering in enumerate(offerings):
        yield ("offerings", number, "id"), offering
        for index, plan in enumerate(offering["plans"]):
            yield ("offerings", number, "plans", index, "id"), plan


def _unique_names(
    document: Document, items: list[dict[str, Any]], path: DocumentPath, kind: str
) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, item in enumerate(items):
        if item["name"] in seen:
            message = f"another {kind} is already called {item['name']!r}."
            yield document.problem((*path, index, "name"), message)
        seen.add(item["name"])


def _update_to(
    document: Document, plan: dict[str, Any], plans: list[dict[str, Any]], path: DocumentPath
) -> Iterator[Problem]:
    by_name = {other["name"]: other for other in plans}
    for index, name in enumerate(plan.get("update_to", ())):
        if name == plan["name"]:
            message = f"the plan {name!r} cannot be updated to itself."
            yield document.problem((*path, index), message)
        elif name not in by_name:
            message = f"no plan of this offering is called {name!r}.{did_you_mean(name, by_name)}"
            yield document.problem((*path, index), message)
        elif _placement(by_name[name]) != _placement(plan):
            message = (
                f"the plan {name!r} has another provider or pool, and an update does not move "
                "a database to another server."
            )
            yield document.problem((*path, index), message)


def _placement(plan: dict[str, Any]) -> tuple[str, str]:
    return plan.get("provider", "shared"), plan.get("pool", "default")


def _retention(document: Document, plan: dict[str, Any], path: DocumentPath) -> Iterator[Problem]:
    retention = plan.get("deleted_retention")
    if retention is not None and parse_duration(retention) > _MAX_TIME_TO_LIVE:
        yield document.problem(path, "deleted_retention must be at most 36500d.")


def _limits(document: Document, limits: dict[str, Any], path: DocumentPath) -> Iterator[Problem]:
    name = "connections_per_binding"
    if limits.get(name, 1) > limits["connections"]:
        message = f"{name} ({limits[name]}) must not exceed connections ({limits['connections']})."
        yield document.problem((*path, name), message)
    for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
        if name in limits and parse_duration(limits[name]) > _MAX_TIMEOUT:
            message = f"{name} must be at most 24d; leave it out for no limit."
            yield document.problem((*path, name), message)
    name = "temp_file_limit"
    if name in limits and parse_size(limits[name]) > _MAX_TEMP_FILE_LIMIT:
        message = f"{name} must be less than 2TiB; leave it out for no limit."
        yield document.problem((*path, name), message)


def _extensions(
    document: Document, extensions: dict[str, Any], path: DocumentPath
) -> Iterator[Problem]:
    allowed = extensions.get("allowed", [])
    for index, name in enumerate(extensions.get("default", [])):
        if name not in allowed:
            hint = did_you_mean(name, allowed)
            message = f"the default extension {name!r} is not in extensions.allowed.{hint}"
            yield document.problem((*path, "default", index), message)


def _bindings(
    document: Document, bindings: dict[str, Any], path: DocumentPath
) -> Iterator[Problem]:
    roles = bindings.get("roles", DEFAULT_ROLES)
    default = bindings.get("default_role")
    if default is not None and default not in roles:
        message = f"default_role {default!r} is none of the roles {', '.join(roles)}."
        yield document.problem((*path, "default_role"), message)
    lifetime, renewal = bindings.get("time_to_live"), bindings.get("renew_before")
    if lifetime is not None and parse_duration(lifetime) > _MAX_TIME_TO_LIVE:
        message = "time_to_live must be at most 36500d; leave it out for credentials without end."
        yield document.problem((*path, "time_to_live"), message)
    if renewal is None:
        return
    if lifetime is None:
        message = "renew_before needs a time_to_live: without one, credentials do not end."
        yield document.problem((*path, "renew_before"), message)
    elif parse_duration(renewal) >= parse_duration(lifetime):
        message = f"renew_before ({renewal}) must be shorter than time_to_live ({lifetime})."
        yield document.problem((*path, "renew_before"), message)
