"""Undelete: a deleted instance is put back under its former id, for an operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.domain.deleted import DeletedInstance, Stage
from broker.domain.errors import Conflict, NotFound, Unprocessable
from broker.domain.names import retained_name
from broker.domain.operation import Caller, OperationKind, Work
from broker.service.context import Broker, Outcome, carry_out, new_operation
from broker.service.deleted import attach, size_of

if TYPE_CHECKING:
    from uuid import UUID

    from broker.service.ports import StateTransaction

REQUEST = "pgbroker instances undelete"
"""What the operation of an undelete has in place of a platform's request id."""


async def undelete(broker: Broker, deletion: UUID) -> Outcome:
    """Put a deleted instance back under its former id, with its data and without its bindings.

    A provision is recorded, so that it ends even when this process does not live to see it.

    Args:
        broker: The collaborators.
        deletion: The broker's own id of the deletion.

    Raises:
        NotFound: Nothing is kept under that id.
        Conflict: The former id is used by another instance.
        Unprocessable: The data is on its way elsewhere or gone, or its plan has left the catalog.
        TemporaryFailure: The state database or the server is out of reach.
    """
    await _check_there(broker, deletion)
    async with broker.store.transaction() as state:
        deleted = await _retained(state, deletion)
        former = deleted.instance
        plan = broker.catalog.find_plan(former.service_id, former.plan_id)
        if plan is None:
            raise Unprocessable(
                "The plan of this deleted instance is no longer in the catalog; put it back, or "
                "have the platform create a new instance with restore_from_instance. Nothing has "
                "been changed."
            )
        instance = deleted.revived(tag_key_id=broker.tag_key_id)
        caller = Caller(former.key.platform, REQUEST)
        operation = new_operation(broker, OperationKind.PROVISION, former.key, caller)
        work = await attach(broker, state, deleted, Work(operation, instance))
        if work is None:
            raise Conflict(
                f"The id {former.key.instance_id} is used by another instance of the platform "
                f"{former.key.platform!r}. Have the platform create a new instance with the "
                f"parameter restore_from_instance={former.key.instance_id}, or delete the other "
                "one first. Nothing has been changed."
            )
    return await carry_out(broker, work, plan=None, accepts_incomplete=True)


async def _check_there(broker: Broker, deletion: UUID) -> None:
    deleted = await broker.store.deleted.find(deletion)
    if deleted is None or deleted.stage is not Stage.RETAINED:
        return
    if await size_of(broker, deleted) is None:
        former = deleted.instance
        raise Unprocessable(
            f"The database {retained_name(former.database)!r} is not on the server "
            f"{former.server!r} any more. Restore it from a backup under this name, or give it up: "
            f"pgbroker instances purge {deletion}. Nothing has been changed."
        )


async def begin_purge(broker: Broker, deletion: UUID) -> DeletedInstance:
    """Record that the data of a deleted instance is to be dropped now; there is no way back.

    Raises:
        NotFound: Nothing is kept under that id.
        Unprocessable: The data is on its way elsewhere.
    """
    async with broker.store.transaction() as state:
        deleted = (await _retained(state, deletion, or_purging=True)).moved(Stage.PURGING)
        await state.deleted.save(deleted)
    return deleted


async def _retained(
    state: StateTransaction, deletion: UUID, *, or_purging: bool = False
) -> DeletedInstance:
    deleted = await state.deleted.lock(deletion)
    if deleted is None:
        raise NotFound(
            f"No deleted instance with the id {deletion} is kept; see: pgbroker instances deleted"
        )
    match deleted.stage:
        case Stage.RETAINED:
            return deleted
        case Stage.PURGING if or_purging:
            return deleted
        case Stage.DELETING:
            reason = "is still being deleted; repeat this when that is done"
        case Stage.RESTORING:
            reason = f"is being restored as the instance {deleted.attached}"
        case Stage.PURGING:
            reason = "is being dropped for good"
    raise Unprocessable(f"The deleted instance {deletion} {reason}. Nothing has been changed.")
