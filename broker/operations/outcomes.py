"""What the end of an operation does to the state."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker.domain import errors
from broker.domain.deleted import Stage
from broker.domain.errors import BrokerError, Unprocessable
from broker.domain.instance import Instance, Status
from broker.domain.operation import OperationKind, UpdateTarget
from broker.domain.storage import StorageState

if TYPE_CHECKING:
    from broker.domain.deleted import DeletedInstance
    from broker.domain.operation import Operation, Work
    from broker.service.ports import StateTransaction, Store


async def record_success(store: Store, work: Work, *, kept_data: bool = True) -> bool:
    """Write down what is true once all steps of an operation are done.

    Args:
        store: The state.
        work: The operation.
        kept_data: Whether a deletion that keeps the data has found some to keep.

    Returns:
        ``False`` when the operation was not ours any more; then nothing has changed.
    """
    done = work.operation.succeeded()
    if work.deleted is not None:
        return await _record_move(store, work, work.deleted, kept_data=kept_data)
    match work.operation.kind:
        case OperationKind.PROVISION | OperationKind.BIND:
            return await store.finish(done, Status.READY)
        case OperationKind.DEPROVISION | OperationKind.UNBIND:
            return await store.finish(done, None)
        case OperationKind.UPDATE:
            async with store.transaction() as state:
                stored = await state.instance(work.instance.key)
                ours = await state.finish_operation(done)
                if ours and stored is not None and work.operation.target is not None:
                    await state.save_instance(updated(stored, work.operation.target))
            return ours


async def record_failure(state: StateTransaction, work: Work, *, withdrawn: bool) -> None:
    """Write down what is true once an operation has failed for good.

    What was being deleted stays so, and can be deleted again. A failed update has changed nothing,
    but that a full database may be writable until it is measured again.

    Args:
        state: The transaction that also records the failure of the operation itself.
        work: The operation.
        withdrawn: Whether a refused provision has been taken back, so that nothing is left of it;
            what it was to restore is kept as before.
    """
    match work.operation.kind:
        case OperationKind.PROVISION if withdrawn:
            await state.remove_instance(work.instance.key)
            if work.deleted is not None:
                await state.deleted.save(work.deleted.moved(Stage.RETAINED))
        case OperationKind.PROVISION:
            await state.set_instance_status(work.instance.key, Status.FAILED)
        case OperationKind.BIND:
            await state.set_binding_status(work.bindings[0].key, Status.FAILED)
        case _:
            pass


def must_withdraw(work: Work, reason: BrokerError) -> bool:
    """Tell whether a failure is a refusal, which must change nothing.

    A provision may get as far as ``CREATE DATABASE`` before the server says that it has no such
    locale; then what was made before goes again (OSB API 2.17, "Error Codes").
    """
    return work.operation.kind is OperationKind.PROVISION and isinstance(reason, Unprocessable)


def explain(work: Work, reason: BrokerError) -> BrokerError:
    """Complete a reason with the fields the specification has for this kind of operation.

    ``instance_usable`` belongs to updates and deprovisions only, ``update_repeatable`` to updates
    only (OSB API 2.17, "Service Broker Errors"). An update has changed all or nothing, so that the
    instance is as usable as before, unless the reason is that its database is lost.
    """
    match work.operation.kind:
        case OperationKind.UPDATE:
            if reason.instance_usable is None:
                reason.instance_usable = True
            if reason.update_repeatable is None:
                reason.update_repeatable = not isinstance(reason, Unprocessable)
        case OperationKind.DEPROVISION:
            reason.instance_usable, reason.update_repeatable = False, None
        case _:
            reason.instance_usable = reason.update_repeatable = None
    return reason


def recorded_failure(operation: Operation) -> BrokerError:
    """Return the error an operation failed with, from its record."""
    kind = getattr(errors, operation.error or "", errors.PermanentFailure)
    failure: BrokerError = kind(
        operation.description,
        instance_usable=operation.instance_usable,
        update_repeatable=operation.update_repeatable,
    )
    return failure


async def _record_move(
    store: Store, work: Work, deleted: DeletedInstance, *, kept_data: bool
) -> bool:
    """Write down that data was put aside or back, with its instance and the operation."""
    key = work.instance.key
    async with store.transaction() as state:
        await state.instance(key)  # Locked first, as by everybody who halts what is in progress.
        if not await state.finish_operation(work.operation.succeeded()):
            return False
        if work.operation.kind is OperationKind.PROVISION:
            await state.set_instance_status(key, Status.READY)
            await state.deleted.remove(deleted.id)
        else:
            await state.remove_instance(key)
            if kept_data:
                await state.deleted.save(deleted.moved(Stage.RETAINED))
            else:
                await state.deleted.remove(deleted.id)
    return True


def updated(instance: Instance, target: UpdateTarget) -> Instance:
    """Return an instance as it is after an update."""
    former = dict.fromkeys((*instance.former_plan_ids, instance.plan_id))
    former.pop(target.plan_id, None)
    return replace(
        instance,
        plan_id=target.plan_id,
        former_plan_ids=tuple(former),
        parameters=target.parameters,
        context=target.context,
        extensions=target.extensions,
        maintenance_version=target.maintenance_version,
        storage=instance.storage if target.plan_id == instance.plan_id else StorageState.WITHIN,
    )
