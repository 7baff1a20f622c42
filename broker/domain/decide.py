"""What a request means, given what is stored: pure decisions, no effects.

Each function returns what to do next, or raises the refusal.

============== =====================================================================
``Create``     nothing is there: record it and make it
``Retry``      the same was asked for before and failed, or its password is lost: run it again
``Await``      the same is in progress: wait for it, or answer that it is
``Replay``     the same was done before: answer as then, do nothing
``Halt``       something is in progress that this request puts an end to
============== =====================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.domain.errors import (
    ConcurrencyError,
    Conflict,
    InvalidRequest,
    MaintenanceInfoConflict,
    Unprocessable,
    UpdateRefused,
)
from broker.domain.instance import Status
from broker.domain.operation import OperationKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from broker.domain.catalog import Plan
    from broker.domain.instance import Instance
    from broker.domain.operation import Operation, UpdateTarget
    from broker.domain.requests import ProvisionRequest, UpdateRequest


@dataclass(frozen=True, slots=True)
class Create:
    """Nothing is there: record it and make it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The same was asked for before and failed, or its password is lost: run it again."""


@dataclass(frozen=True, slots=True)
class Replay:
    """The same was done before: answer as then, do nothing."""


@dataclass(frozen=True, slots=True)
class Await:
    """The same is in progress: wait for it, or answer that it is."""

    operation: Operation


@dataclass(frozen=True, slots=True)
class Halt:
    """Something is in progress that this request puts an end to, whoever runs it."""

    operations: tuple[Operation, ...]


DELETING = "This service instance is being deleted. If that has failed, delete it again."

# Names and annotations may change.
_SCOPE = ("platform", "clusterid", "namespace", "organization_guid", "space_guid")


def scope(context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a context that says where a thing lives."""
    return {name: context[name] for name in _SCOPE if name in context}


def check_ids(
    instance: Instance,
    *,
    service_id: str | None,
    plan_id: str | None,
    former_plans: bool = False,
    wanted_plan: Plan | None = None,
) -> None:
    """Refuse a request that names another offering or plan than the instance's.

    Args:
        instance: The stored one.
        service_id: What the request says; ``None`` when it says nothing.
        plan_id: Likewise.
        former_plans: Whether a plan it had before an update will do: a platform that missed the
            answer to the update knows no better, and must still be able to delete.
        wanted_plan: Another plan of the offering that will do, too: a platform whose update was
            refused may go on to name the plan it wanted, and must still be able to delete.

    Raises:
        InvalidRequest: They do not belong together.
    """
    if service_id is not None and service_id != instance.service_id:
        raise InvalidRequest("service_id is not the service offering of this service instance.")
    plans = {instance.plan_id, *(instance.former_plan_ids if former_plans else ())}
    if wanted_plan is not None:
        plans.add(wanted_plan.id)
    if plan_id is not None and plan_id not in plans:
        raise InvalidRequest("plan_id is not the plan of this service instance.")


def is_maintained(plan: Plan, version: str | None) -> bool:
    """Tell whether a request means the plan as it is; one without a version always does."""
    current = plan.maintenance_info.version if plan.maintenance_info else None
    return version in (None, current)


def check_maintenance(plan: Plan, version: str | None) -> None:
    """Refuse a maintenance version other than the catalog's.

    Raises:
        MaintenanceInfoConflict: They differ (OSB API 2.17, "Maintenance Info Object").
    """
    if not is_maintained(plan, version):
        current = plan.maintenance_info.version if plan.maintenance_info else None
        raise MaintenanceInfoConflict(
            f"The plan {plan.name!r} is at maintenance version {current or 'none'}, the request "
            f"says {version}; fetch /v2/catalog again."
        )


def decide_provision(
    request: ProvisionRequest, stored: Instance | None, active: Operation | None
) -> Create | Retry | Await | Replay:
    """Decide on ``PUT /v2/service_instances/:instance_id``.

    Raises:
        Conflict: The id is taken by an instance with other attributes.
        ConcurrencyError: It is being deleted.
    """
    if stored is None:
        return Create()
    if stored.status is Status.DELETING:
        raise ConcurrencyError(DELETING)
    same = (
        stored.service_id == request.service_id
        and stored.plan_id == request.plan_id
        and stored.parameters == request.parameters
        and stored.organization_guid == request.organization_guid
        and stored.space_guid == request.space_guid
        and scope(stored.context) == scope(request.context)
        and request.maintenance_version in {None, stored.maintenance_version}
    )
    if not same:
        raise Conflict(
            "A service instance with this id already exists with another service, plan, context or "
            "other parameters."
        )
    if stored.status is Status.READY:
        return Replay()
    return Retry() if active is None else Await(active)


def decide_update(
    target: UpdateTarget, stored: Instance, active: Operation | None
) -> Create | Await | Replay:
    """Decide on ``PATCH /v2/service_instances/:instance_id``.

    Args:
        target: What the instance shall be afterwards.
        stored: What it is.
        active: The operation in progress on it or on one of its bindings.

    Raises:
        ConcurrencyError: Something else is in progress.
        Unprocessable: The instance was never finished.
    """
    if active is not None:
        if active.kind is OperationKind.UPDATE and active.target == target:
            return Await(active)
        raise ConcurrencyError
    check_usable(stored)
    unchanged = (
        target.plan_id == stored.plan_id
        and target.parameters == stored.parameters
        and target.extensions == stored.extensions
        and target.context == stored.context
        and target.maintenance_version == stored.maintenance_version
    )
    return Replay() if unchanged else Create()


def check_plan_change(current: Plan | None, wanted: Plan) -> None:
    """Refuse a move between plans that the catalog does not offer.

    Raises:
        UpdateRefused: With the reason.
    """
    if current is not None and current.id == wanted.id:
        return
    if current is None:
        reason = "its present plan is no longer in the catalog"
    elif wanted.name not in current.update_to:
        reason = f"the plan {current.name!r} can be updated to: {', '.join(current.update_to)}"
        if not current.update_to:
            reason = f"the plan {current.name!r} cannot be updated to another plan"
    elif (current.provider, current.pool) != (wanted.provider, wanted.pool):
        reason = "its data lives on another kind of server"
    else:
        return
    raise UpdateRefused(
        f"This service instance cannot move to the plan {wanted.name!r}: {reason}. "
        "Nothing has been changed.",
        instance_usable=True,
        update_repeatable=False,
    )


def check_storage(plan: Plan, used: int) -> None:
    """Refuse a plan that is too small for the data.

    Args:
        plan: The plan wanted.
        used: Bytes the database occupies.

    Raises:
        UpdateRefused: It would not fit.
    """
    limit = plan.limits.storage
    if limit is not None and used > limit:
        raise UpdateRefused(
            f"The database occupies {used:,} bytes and the plan {plan.name!r} allows {limit:,}; "
            "delete data or choose a larger plan. Nothing has been changed.",
            instance_usable=True,
            update_repeatable=True,
        )


def check_previous_values(request: UpdateRequest, stored: Instance) -> None:
    """Refuse an update that starts from something this instance never was.

    Raises:
        InvalidRequest: ``previous_values`` names another offering or plan.
    """
    if request.previous_service_id not in {None, stored.service_id}:
        raise InvalidRequest("previous_values.service_id is not this service instance's.")
    known = {None, stored.plan_id, *stored.former_plan_ids}
    if request.previous_plan_id not in known:
        raise InvalidRequest("previous_values.plan_id is not a plan of this service instance.")


def decide_deprovision(active: Sequence[Operation]) -> Create | Await | Halt:
    """Decide on ``DELETE /v2/service_instances/:instance_id`` of an instance that exists.

    Args:
        active: What is in progress on it and on its bindings.
    """
    for operation in active:
        if operation.kind is OperationKind.DEPROVISION:
            return Await(operation)
    return Halt(tuple(active)) if active else Create()


def check_usable(instance: Instance) -> None:
    """Refuse to change or bind an instance that is not ready.

    Raises:
        ConcurrencyError: It is being made or deleted.
        Unprocessable: It was never finished.
    """
    if instance.status is Status.DELETING:
        raise ConcurrencyError(DELETING)
    if instance.status is Status.CREATING:
        raise ConcurrencyError("This service instance is still being created.")
    if instance.status is Status.FAILED:
        raise Unprocessable(
            "This service instance could not be created; delete it and create it again."
        )
