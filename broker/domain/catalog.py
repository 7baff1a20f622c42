"""The offerings and plans of ``catalog.yaml``: what platforms see, and what the broker does.

The parts that only platforms read are kept as they were written (``metadata``); the parts the
broker acts on are typed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from broker.domain.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from broker.domain.database import Access, Limits


@dataclass(frozen=True, slots=True)
class MaintenanceInfo:
    """The version of what a plan provisions (OSB API 2.17, "Maintenance Info Object").

    Attributes:
        version: A semantic version 2.0.
        description: What changed, for the user of the platform.
    """

    version: str
    description: str | None = None


@dataclass(frozen=True, slots=True)
class Extensions:
    """Which PostgreSQL extensions a plan's databases may have.

    Attributes:
        allowed: Names a user may ask for with the parameter ``extensions``.
        default: Names every database of the plan gets; each is allowed, too.
    """

    allowed: tuple[str, ...] = ()
    default: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BindingPolicy:
    """What the bindings of a plan are like.

    Attributes:
        roles: The offered names and what each may do.
        default_role: The name used when a bind request asks for none.
        time_to_live: How long credentials are valid; ``None`` is until unbind.
        renew_before: How long before the end the platform should rotate.
    """

    roles: Mapping[str, Access]
    default_role: str
    time_to_live: timedelta | None = None
    renew_before: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A service plan (OSB API 2.17, "Service Plan Object") and what the broker does for it.

    Attributes:
        id: Globally unique, immutable.
        name: Unique within the offering.
        description: Shown to users.
        limits: What one database of this plan may use.
        bindings: What its bindings are like.
        extensions: Which extensions it offers.
        provider: Where the server comes from (``shared``).
        pool: The server pool, for the provider ``shared``.
        server_labels: Labels that a server of the pool must have, with their values.
        warm: How many databases each server keeps ready for new instances.
        update_to: Names of the plans an instance may move to.
        deleted_retention: How long the database of a deleted instance is kept; ``None`` drops it
            with the instance.
        asynchronous: The plan is never quick: callers must accept incomplete operations.
        free: Whether it costs nothing.
        bindable: Whether its instances can be bound.
        binding_rotatable: Whether its bindings can be rotated.
        maximum_polling_duration: Seconds a platform should poll for.
        maintenance_info: The version of what this plan provisions.
        metadata: Passed on to platforms as it is.
        schemas: The published parameter schemas, by name: ``provision``, ``update`` and ``bind``,
            each a JSON Schema of draft 4.
    """

    id: str
    name: str
    description: str
    limits: Limits
    bindings: BindingPolicy
    extensions: Extensions = field(default_factory=Extensions)
    provider: str = "shared"
    pool: str = "default"
    server_labels: Mapping[str, str] = field(default_factory=dict)
    warm: int = 0
    update_to: tuple[str, ...] = ()
    deleted_retention: timedelta | None = None
    asynchronous: bool = False
    free: bool = True
    bindable: bool = True
    binding_rotatable: bool = True
    maximum_polling_duration: int | None = None
    maintenance_info: MaintenanceInfo | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Offering:
    """A service offering (OSB API 2.17, "Service Offering Object").

    Attributes:
        id: Globally unique, immutable.
        name: Unique within the catalog.
        description: Shown to users.
        plans: At least one.
        tags: What kind of service it is.
        metadata: Passed on to platforms as it is.
        allow_context_updates: Whether an update may carry nothing but context.
    """

    id: str
    name: str
    description: str
    plans: tuple[Plan, ...]
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    allow_context_updates: bool = True

    def plan(self, plan_id: str) -> Plan | None:
        """Return the plan with this id, or ``None``."""
        return next((plan for plan in self.plans if plan.id == plan_id), None)


@dataclass(frozen=True, slots=True)
class Catalog:
    """All offerings.

    Attributes:
        offerings: In the order of ``catalog.yaml``.
    """

    offerings: tuple[Offering, ...]

    def offering(self, service_id: str) -> Offering:
        """Return the offering with this id.

        Raises:
            InvalidRequest: No offering has it.
        """
        for offering in self.offerings:
            if offering.id == service_id:
                return offering
        raise InvalidRequest(
            f"service_id {service_id!r} is not in this broker's catalog; fetch /v2/catalog again."
        )

    def find_plan(self, service_id: str, plan_id: str) -> Plan | None:
        """Return the plan with this id, or ``None`` when the catalog has it no longer."""
        for offering in self.offerings:
            if offering.id == service_id:
                return offering.plan(plan_id)
        return None

    def plan(self, service_id: str, plan_id: str) -> Plan:
        """Return the plan with this id, of the offering with that id.

        Raises:
            InvalidRequest: There is no such offering, or no such plan in it.
        """
        offering = self.offering(service_id)
        plan = offering.plan(plan_id)
        if plan is None:
            raise InvalidRequest(
                f"plan_id {plan_id!r} is not a plan of the service offering {offering.name!r}; "
                "fetch /v2/catalog again."
            )
        return plan
