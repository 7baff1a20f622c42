"""From ``catalog.yaml`` to the domain's catalog.

Belongs here: the translation, human units included. What a catalog must satisfy is said in
``catalog.schema.json`` and, for what a schema cannot say, in ``catalog_rules.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from broker.config.catalog_rules import DEFAULT_ROLES, broken_rules
from broker.config.documents import parse_document
from broker.config.files import read_text
from broker.config.parameter_schemas import parameter_schemas
from broker.config.problems import ConfigurationError
from broker.config.units import parse_duration, parse_size
from broker.domain.catalog import (
    BindingPolicy,
    Catalog,
    Extensions,
    MaintenanceInfo,
    Offering,
    Plan,
)
from broker.domain.database import Access, Limits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class CatalogFile:
    """A catalog, and where in its file every plan is, for problems that show later.

    Attributes:
        catalog: What it offers.
        plan_lines: ``file:line`` of every plan, by the plan's id.
    """

    catalog: Catalog
    plan_lines: Mapping[str, str]


def load_catalog(path: Path) -> Catalog:
    """Read a catalog file.

    Raises:
        ConfigurationError: It cannot be read or used; every problem names its line.
    """
    return parse_catalog(read_text(path), str(path))


def parse_catalog(text: str, source: str) -> Catalog:
    """Parse a catalog.

    Args:
        text: YAML 1.2, as described in ``docs/catalog.md``.
        source: What to call it in messages: its file name.

    Raises:
        ConfigurationError: It cannot be used; every problem names its line.
    """
    return parse_catalog_file(text, source).catalog


def parse_catalog_file(text: str, source: str) -> CatalogFile:
    """Parse a catalog like ``parse_catalog`` and keep the lines of its plans."""
    document = parse_document(text, source, schema="catalog.schema.json")
    problems = broken_rules(document)
    if problems:
        raise ConfigurationError(problems)
    offerings = document.data["offerings"]
    lines = {
        plan["id"]: document.where(("offerings", number, "plans", index))
        for number, offering in enumerate(offerings)
        for index, plan in enumerate(offering["plans"])
    }
    return CatalogFile(Catalog(tuple(_offering(offering) for offering in offerings)), lines)


def _offering(data: dict[str, Any]) -> Offering:
    # What one plan keeps, another plan of the offering may be made from.
    restorable = any("deleted_retention" in plan for plan in data["plans"])
    return Offering(
        id=data["id"],
        name=data["name"],
        description=data["description"],
        plans=tuple(
            _plan(plan, bindable=data.get("bindable", True), restorable=restorable)
            for plan in data["plans"]
        ),
        tags=tuple(data.get("tags", ())),
        metadata=data.get("metadata", {}),
        allow_context_updates=data.get("allow_context_updates", True),
    )


def _plan(data: dict[str, Any], *, bindable: bool, restorable: bool) -> Plan:
    extensions = _extensions(data.get("extensions", {}))
    bindings = _bindings(data.get("bindings", {}))
    maintenance = data.get("maintenance_info")
    return Plan(
        id=data["id"],
        name=data["name"],
        description=data["description"],
        limits=_limits(data["limits"]),
        bindings=bindings,
        extensions=extensions,
        provider=data.get("provider", "shared"),
        pool=data.get("pool", "default"),
        server_labels=data.get("server_labels", {}),
        warm=data.get("warm", 0),
        update_to=tuple(data.get("update_to", ())),
        deleted_retention=_duration(data.get("deleted_retention")),
        asynchronous=data.get("asynchronous", False),
        free=data.get("free", True),
        bindable=data.get("bindable", bindable),
        binding_rotatable=data.get("binding_rotatable", True),
        maximum_polling_duration=data.get("maximum_polling_duration"),
        maintenance_info=None if maintenance is None else MaintenanceInfo(**maintenance),
        metadata=data.get("metadata", {}),
        schemas=parameter_schemas(extensions, bindings, restorable=restorable),
    )


def _extensions(data: dict[str, Any]) -> Extensions:
    return Extensions(
        allowed=tuple(data.get("allowed", ())), default=tuple(data.get("default", ()))
    )


def _bindings(data: dict[str, Any]) -> BindingPolicy:
    roles = {name: Access(access) for name, access in data.get("roles", DEFAULT_ROLES).items()}
    return BindingPolicy(
        roles=roles,
        default_role=data.get("default_role", next(iter(roles))),
        time_to_live=_duration(data.get("time_to_live")),
        renew_before=_duration(data.get("renew_before")),
    )


def _limits(data: dict[str, Any]) -> Limits:
    return Limits(
        connections=data["connections"],
        connections_per_binding=data.get("connections_per_binding", data["connections"]),
        storage=_size(data.get("storage")),
        statement_timeout=_duration(data.get("statement_timeout")),
        idle_in_transaction_session_timeout=_duration(
            data.get("idle_in_transaction_session_timeout")
        ),
        temp_file_limit=_size(data.get("temp_file_limit")),
    )


def _size(text: str | None) -> int | None:
    return None if text is None else parse_size(text)


def _duration(text: str | None) -> timedelta | None:
    return None if text is None else parse_duration(text)
