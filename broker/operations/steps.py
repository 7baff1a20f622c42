"""The steps of each operation: named, in order, each safe to repeat.

This is the page to read to know what the broker does on a server, and in which order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.domain.database import Access, DatabaseChange, Retention
from broker.domain.errors import PermanentFailure
from broker.domain.names import retained_name
from broker.domain.operation import OperationKind
from broker.domain.storage import StorageState
from broker.domain.warm import warm_key
from broker.operations.outcomes import updated
from broker.service.specs import NO_LIMITS, database_spec, login_spec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from broker.domain.catalog import Catalog, Plan
    from broker.domain.database import DatabaseSpec
    from broker.domain.deleted import DeletedInstance
    from broker.domain.instance import Binding, Instance
    from broker.domain.operation import Work
    from broker.service.ports import DatabaseSession, Tags


@dataclass(frozen=True, slots=True)
class Step:
    """One step of an operation.

    Attributes:
        name: For the log, and for tests that kill the process between two steps.
        run: Does it, under the lock of the instance's database. What the last step returns is
            told to whoever records the end: ``False`` when there was nothing to be kept.
        settles: It finds out whether an earlier attempt has done everything. Then it returns
            ``True``, and the rest is left out.
    """

    name: str
    run: Callable[[DatabaseSession], Awaitable[object]]
    settles: bool = False


def steps_of(work: Work, *, catalog: Catalog, tags: Tags) -> tuple[Step, ...]:
    """Return the steps of an operation, in order.

    Raises:
        PermanentFailure: The instance's plan is no longer in the catalog.
    """
    instance = work.instance
    match work.operation.kind:
        case OperationKind.PROVISION:
            plan = _plan(catalog, instance, instance.plan_id)
            if work.deleted is not None:
                return _restore(instance, work.deleted, plan, tags)
            return _provision(instance, plan, tags)
        case OperationKind.UPDATE:
            return _update(work, catalog, tags)
        case OperationKind.DEPROVISION:
            return withdraw(instance, work.bindings, tags, deleted=work.deleted)
        case OperationKind.BIND:
            plan = _plan(catalog, instance, instance.plan_id)
            return _bind(instance, work.bindings[0], plan, tags)
        case OperationKind.UNBIND:
            return _unbind(instance, work.bindings[0])


def _provision(instance: Instance, plan: Plan, tags: Tags) -> tuple[Step, ...]:
    """Roles, then a database nobody can reach, then the fence, then the way in.

    All of it is there already when the instance has claimed a database of the warm stock. That is
    seen by its tag and not recorded: repeated after a crash, the steps find what was adopted, too.
    """
    spec = database_spec(instance, plan.limits, tags)
    return (
        _adopt(instance, spec, tags),
        Step("ensure_roles", lambda database: database.ensure_roles(spec)),
        Step("ensure_database", lambda database: database.ensure_database(spec)),
        Step("initialise_database", lambda database: database.initialise_database(spec)),
    )


def _restore(
    instance: Instance, deleted: DeletedInstance, plan: Plan, tags: Tags
) -> tuple[Step, ...]:
    """Name and tag in one transaction, while nobody can connect; then the way in."""
    spec = database_spec(instance, plan.limits, tags)
    retention = retention_of(deleted, spec, tags)
    return (
        Step("restore_database", lambda database: database.restore_database(retention)),
        Step("reopen_database", lambda database: database.reopen_database(spec)),
    )


def _update(work: Work, catalog: Catalog, tags: Tags) -> tuple[Step, ...]:
    """One transaction, the last step: all of the change, or nothing of it.

    What somebody else was at work on may have been made; then that is so, whatever has become of
    the catalog since.

    A full database may be written to before that: should the change fail, the next measurement
    makes it read-only again, while a change that was made could not be taken back.
    """
    instance, target = work.instance, work.operation.target
    if target is None:
        raise PermanentFailure("This update was recorded without what it leads to.")
    if not work.resumed:
        _plan(catalog, instance, target.plan_id)
    after = updated(instance, target)

    async def change_database(database: DatabaseSession) -> None:
        limits = _plan(catalog, instance, target.plan_id).limits
        change = DatabaseChange(
            database=database_spec(after, limits, tags),
            add_extensions=tuple(e for e in target.extensions if e not in instance.extensions),
            drop_extensions=tuple(e for e in instance.extensions if e not in target.extensions),
            logins=tuple(binding.login for binding in work.bindings),
        )
        await database.change_database(change)

    steps = [_adopt(instance, database_spec(instance, NO_LIMITS, tags), tags, in_part=False)]
    if work.resumed:
        changed = database_spec(after, NO_LIMITS, tags)
        steps.append(Step("look_for_change", lambda db: db.is_changed(changed), settles=True))
    if instance.storage is not StorageState.WITHIN and target.plan_id != instance.plan_id:
        # The data was found to fit into the new plan when the update was accepted.
        writers = [binding.login for binding in work.bindings if binding.access is Access.WRITE]
        steps.append(
            Step("allow_writes", lambda db: db.allow_writes(writers, owner=instance.owner))
        )
    steps.append(Step("change_database", change_database))
    return tuple(steps)


def withdraw(
    instance: Instance,
    bindings: Sequence[Binding],
    tags: Tags,
    *,
    deleted: DeletedInstance | None = None,
) -> tuple[Step, ...]:
    """The logins go, and the database with everything in it, unless that is to be kept."""
    # An instance can go when its plan has left the catalog, so no limits are asked for.
    spec = database_spec(instance, NO_LIMITS, tags)
    logins = tuple(binding.login for binding in bindings)
    adopt = _adopt(instance, spec, tags)
    if deleted is not None:
        retention = retention_of(deleted, spec, tags)
        return (
            adopt,
            Step("retain_database", lambda database: database.retain_database(retention, logins)),
        )
    return (
        adopt,
        Step("drop_database", lambda database: database.drop_database(spec, logins)),
    )


def retention_of(deleted: DeletedInstance, spec: DatabaseSpec | None, tags: Tags) -> Retention:
    """Return what the database of a deleted instance is called and says of itself.

    Args:
        deleted: The deleted instance.
        spec: The database as the instance has it that goes with it; ``None`` when none does.
        tags: Makes its tag.
    """
    former = deleted.instance
    return Retention(
        database=spec or database_spec(former, NO_LIMITS, tags),
        name=retained_name(former.database),
        tag=tags.deleted(deleted.key, former.tag_key_id),
        record=tags.deleted_record(deleted),
    )


def _bind(instance: Instance, binding: Binding, plan: Plan, tags: Tags) -> tuple[Step, ...]:
    """One login role; from then on the database may be used, so it says before whose it is."""
    if binding.secret is None:
        raise PermanentFailure("This bind was recorded without a password.")
    spec = login_spec(instance, binding, plan.limits, tags)
    return (
        _adopt(instance, database_spec(instance, plan.limits, tags), tags, in_part=False),
        Step("ensure_login", lambda database: database.ensure_login(spec)),
    )


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


def _adopt(instance: Instance, spec: DatabaseSpec, tags: Tags, *, in_part: bool = True) -> Step:
    """An instance may have got its database from the warm stock, and its tags not yet.

    What makes the rest of it anew, or takes it away, adopts it in part, too.
    """
    stock_tag = tags.instance(warm_key(instance.database), instance.tag_key_id)
    return Step(
        "adopt_database",
        lambda database: database.adopt_database(spec, stock_tag, in_part=in_part),
    )
