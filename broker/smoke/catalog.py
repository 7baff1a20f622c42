"""Choosing from a catalog what is tried out.

Belongs here: reading what a smoke run needs of an offering and a plan, from any broker's catalog.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from broker.smoke.errors import StepFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_READ_ONLY = frozenset({"read-only", "readonly", "read_only", "read", "reader", "ro"})


@dataclass(frozen=True, slots=True)
class Choice:
    """A plan, and what can be done with its instances.

    Attributes:
        service_id: The offering's id.
        service: The offering's name.
        plan_id: The plan's id.
        plan: The plan's name.
        maintenance_version: What has to be sent back, if the plan has one.
        polling_seconds: How long an operation may take at most, if the plan says so.
        instances_retrievable: Instances can be fetched.
        bindings_retrievable: Bindings can be fetched.
        rotatable: Bindings can be rotated.
        read_only: Parameters of a read-only binding, if the plan offers them.
    """

    service_id: str
    service: str
    plan_id: str
    plan: str
    maintenance_version: str | None
    polling_seconds: float | None
    instances_retrievable: bool
    bindings_retrievable: bool
    rotatable: bool
    read_only: Mapping[str, str] | None


def choose(catalog: Mapping[str, Any], *, service: str | None, plan: str | None) -> Choice:
    """Choose a plan: the named one, or the first that can be bound and costs nothing.

    Args:
        catalog: The body of ``GET /v2/catalog``.
        service: Name or id of an offering; ``None`` is the first.
        plan: Name or id of a plan of it.

    Raises:
        StepFailed: There is no such plan; the message lists those there are.
    """
    offerings = _entries(catalog, "services")
    offering = _named(offerings, service, "offering", "--service") if service else offerings[0]
    plans = _entries(offering, "plans")
    if plan:
        chosen = _named(plans, plan, "plan", "--plan")
    else:
        fit = [p for p in plans if _bindable(p, offering) and p.get("free", True)]
        if not fit:
            raise StepFailed(
                f"The offering {offering['name']!r} has no plan that is free and can be bound. "
                f"Choose one with --plan: {_names(plans)}."
            )
        chosen = fit[0]
    if not _bindable(chosen, offering):
        raise StepFailed(
            f"Instances of the plan {chosen['name']!r} cannot be bound. Choose another with --plan."
        )
    return _choice(offering, chosen)


def _choice(offering: Mapping[str, Any], plan: Mapping[str, Any]) -> Choice:
    version = _object(plan, "maintenance_info").get("version")
    polling = plan.get("maximum_polling_duration")
    return Choice(
        service_id=offering["id"],
        service=offering["name"],
        plan_id=plan["id"],
        plan=plan["name"],
        maintenance_version=version if isinstance(version, str) else None,
        polling_seconds=polling if isinstance(polling, int | float) and polling > 0 else None,
        instances_retrievable=offering.get("instances_retrievable") is True,
        bindings_retrievable=offering.get("bindings_retrievable") is True,
        rotatable=plan.get("binding_rotatable") is True,
        read_only=_read_only(plan),
    )


def _bindable(plan: Mapping[str, Any], offering: Mapping[str, Any]) -> bool:
    # OSB API 2.17, "Service Plan Object": the plan's own field goes before its offering's.
    return bool(plan.get("bindable", offering.get("bindable", False)))


def _read_only(plan: Mapping[str, Any]) -> Mapping[str, str] | None:
    """Find a parameter of the bind schema with a value that asks for reading only."""
    schema: Any = plan
    for key in ("schemas", "service_binding", "create", "parameters", "properties"):
        schema = _object(schema, key)
    for name in schema:
        values = _object(schema, name).get("enum")
        for value in values if isinstance(values, list) else ():
            if isinstance(value, str) and value.lower() in _READ_ONLY:
                return {name: value}
    return None


def _object(parent: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _entries(parent: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """Return the offerings or plans, each of which has a name and an id."""
    entries = parent.get(key)
    if not isinstance(entries, list) or not entries:
        raise StepFailed(f"The catalog offers nothing: expected a list of {key!r}.")
    for entry in entries:
        if not isinstance(entry, dict) or not all(
            isinstance(entry.get(field), str) for field in ("id", "name")
        ):
            raise StepFailed(f"The catalog is malformed: one of its {key} has no id or no name.")
    return entries


def _named(
    entries: Sequence[dict[str, Any]], wanted: str, kind: str, option: str
) -> dict[str, Any]:
    for entry in entries:
        if wanted in (entry["name"], entry["id"]):
            return entry
    raise StepFailed(f"There is no {kind} {wanted!r}. Choose with {option}: {_names(entries)}.")


def _names(entries: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(entry["name"] for entry in entries)
