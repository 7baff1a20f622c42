"""The steps of each operation: named, in order, each safe to repeat.

This is the page to read to know what the broker does on a server, and in which order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.domain.database import DatabaseChange, DatabaseSpec, Limits, LoginSpec
from broker.domain.errors import PermanentFailure
from broker.domain.operation import OperationKind
from broker.domain.parameters import InstanceParameters
from broker.operations.outcomes import updated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from broker.domain.catalog import Catalog, Plan
    from broker.domain.instance import Binding, Instance
    from broker.domain.operation import UpdateTarget, Work
    from broker.service.ports import DatabaseSession, Tags


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an operation.

    Attributes:
        name: For the log, and for tests that kill the process between two steps.
        run: Does it, under the lock of the instance's database.
    """

    name: str
    run: Callable[[DatabaseSession], Awaitable[None]]


def steps_of(work: Work, *, catalog: Catalog, tags: Tags) -> tuple[Step, ...]:
    """Return the steps of an operation, in order.

    Raises:
        PermanentFailure: The instance's plan is no longer in the catalog.
    """
    instance = work.instance
    match work.operation.kind:
        case OperationKind.PROVISION:
            return _provision(instance, _plan(catalog, instance, instance.plan_id), tags)
        case OperationKind.UPDATE:
            target = work.operation.target
            if target is None:
                raise PermanentFailure("This update was recorded without what it leads to.")
            plan = _plan(catalog, instance, target.plan_id)
            return _update(work, plan, target, tags)
        case OperationKind.DEPROVISION:
            return withdraw(instance, work.bindings, tags)
        case OperationKind.BIND:
            plan = _plan(catalog, instance, instance.plan_id)
            return _bind(instance, work.bindings[0], plan, tags)
        case OperationKind.UNBIND:
            return _unbind(instance, work.bindings[0])


def _provision(instance: Instance, plan: Plan, tags: Tags) -> tuple[Step, ...]:
    """Roles, then a database nobody can reach, then the fence, then the way in."""
    spec = _database_spec(instance, plan.limits, tags)
    return (
        Step("ensure_roles", lambda database: database.ensure_roles(spec)),
        Step("ensure_database", lambda database: database.ensure_database(spec)),
        Step("initialise_database", lambda database: database.initialise_database(spec)),
    )


def _update(work: Work, plan: Plan, target: UpdateTarget, tags: Tags) -> tuple[Step, ...]:
    """One transaction: all of the change, or nothing of it."""
    instance = work.instance
    change = DatabaseChange(
        database=_database_spec(updated(instance, target), plan.limits, tags),
        add_extensions=tuple(e for e in target.extensions if e not in instance.extensions),
        drop_extensions=tuple(e for e in instance.extensions if e not in target.extensions),
        logins=tuple(binding.login for binding in work.bindings),
    )
    return (Step("change_database", lambda database: database.change_database(change)),)


def withdraw(instance: Instance, bindings: Sequence[Binding], tags: Tags) -> tuple[Step, ...]:
    """The database with everything in it, then the roles."""
    # An instance can go when its plan has left the catalog, so no limits are asked for.
    spec = _database_spec(instance, Limits(connections=0, connections_per_binding=0), tags)
    logins = tuple(binding.login for binding in bindings)
    return (Step("drop_database", lambda database: database.drop_database(spec, logins)),)


def _bind(instance: Instance, binding: Binding, plan: Plan, tags: Tags) -> tuple[Step, ...]:
    """One login role."""
    if binding.secret is None:
        raise PermanentFailure("This bind was recorded without a password.")
    spec = LoginSpec(
        name=binding.login,
        database=instance.database,
        owner=instance.owner,
        access=binding.access,
        verifier=binding.secret.verifier,
        limits=plan.limits,
        tag=tags.binding(binding.key, instance.tag_key_id),
        valid_until=binding.expires_at,
        record=tags.binding_record(binding, instance.tag_key_id),
    )
    return (Step("ensure_login", lambda database: database.ensure_login(spec)),)


def _unbind(instance: Instance, binding: Binding) -> tuple[Step, ...]:
    """The login role goes, what it created stays."""
    login, owner = binding.login, instance.owner
    return (Step("drop_login", lambda database: database.drop_login(login, owner=owner)),)


def _plan(catalog: Catalog, instance: Instance, plan_id: str) -> Plan:
    plan = catalog.find_plan(instance.service_id, plan_id)
    if plan is None:
        raise PermanentFailure(
            "The plan of this service instance is no longer in the broker's catalog; the operator "
            "has to put it back."
        )
    return plan


def _database_spec(instance: Instance, limits: Limits, tags: Tags) -> DatabaseSpec:
    return DatabaseSpec(
        name=instance.database,
        owner=instance.owner,
        tag=tags.instance(instance.key, instance.tag_key_id),
        limits=limits,
        extensions=instance.extensions,
        options=InstanceParameters.parse(instance.parameters).options,
        record=tags.instance_record(instance),
    )
