"""Deleted instances whose data is kept: what deprovision and provision do about them.

Recorded in the transaction that records the operation, so that whoever takes it over knows.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from broker.domain.deleted import (
    DeletedInstance,
    Stage,
    check_extensions,
    check_room,
    check_same_place,
)
from broker.domain.errors import BrokerError, PermanentFailure, Unprocessable, UpdateRefused
from broker.domain.instance import InstanceKey, Status
from broker.domain.names import retained_name
from broker.domain.parameters import InstanceParameters, provision_extensions
from broker.domain.storage import StorageState

if TYPE_CHECKING:
    from broker.domain.catalog import Plan
    from broker.domain.instance import Instance
    from broker.domain.operation import Work
    from broker.domain.placement import Occupancy
    from broker.domain.requests import ProvisionRequest
    from broker.service.context import Broker
    from broker.service.ports import StateTransaction


async def set_aside(
    broker: Broker, state: StateTransaction, instance: Instance, plan: Plan | None
) -> DeletedInstance | None:
    """Record whether the data of an instance is kept when it is deleted.

    What was never finished has no data, unless it was being restored: then that is kept as
    before. A deletion that failed goes on as it began, whatever the plan says by now.

    Args:
        broker: The collaborators.
        state: The transaction that records the deprovision.
        instance: As it was before.
        plan: Its plan, if the catalog still has it.

    Returns:
        What is kept; ``None`` when the data is dropped.
    """
    if instance.status is not Status.READY:
        attached = await state.deleted.attached(instance.key)
        if attached is not None and attached.stage is Stage.RESTORING:
            attached = attached.moved(Stage.DELETING, attached=attached.attached)
            await state.deleted.save(attached)
        return attached
    if plan is None or plan.deleted_retention is None:
        return None
    now = broker.clock()
    deleted = DeletedInstance(
        id=uuid4(),
        instance=instance,
        deleted_at=now,
        purge_at=now + plan.deleted_retention,
        stage=Stage.DELETING,
        attached=instance.key.instance_id,
    )
    await state.deleted.add(deleted)
    return deleted


async def find_source(
    broker: Broker, request: ProvisionRequest, plan: Plan
) -> DeletedInstance | None:
    """Return the deleted instance that a new one is to be made from.

    Returns:
        ``None`` when the new one is recorded already, perhaps by the same request sent twice.

    Raises:
        InvalidRequest: There is none that this request may have.
        Unprocessable: The plan does not allow what the database has.
        TemporaryFailure: The server is out of reach.
    """
    key = request.instance
    if await broker.store.instance(key) is not None:
        return None
    try:
        return await _find_source(broker, request, plan)
    except BrokerError:
        if await broker.store.instance(key) is not None:
            return None
        raise


async def _find_source(broker: Broker, request: ProvisionRequest, plan: Plan) -> DeletedInstance:
    parameters = InstanceParameters.parse(request.parameters)
    former = InstanceKey(request.instance.platform, parameters.restore_from or "")
    found = check_same_place(await broker.store.deleted.retained(former), request)
    instance = found.instance
    if not broker.servers.serves(plan, instance.server):
        raise Unprocessable(
            f"The deleted database cannot be restored into the plan {plan.name!r}: its data lives "
            "on another kind of server. Nothing has been changed."
        )
    wanted = provision_extensions(plan, parameters)
    check_extensions(plan, (*instance.extensions, *wanted))
    size = await size_of(broker, found)
    if size is None:
        # Was it given away or dropped in the meantime?
        check_same_place(await broker.store.deleted.find(found.id), request)
        raise Unprocessable(
            "The deleted database is not on its server any more; nothing has been changed. Ask the "
            "operator of this broker to restore it from a backup."
        )
    if plan.limits.storage is not None:
        check_room(plan, size)
    return found


async def size_of(broker: Broker, deleted: DeletedInstance) -> int | None:
    """Return the bytes that a kept database occupies; ``None`` when it is not there.

    Raises:
        TemporaryFailure: The server is out of reach.
    """
    former = deleted.instance
    engine = broker.servers.engine(former.server)
    try:
        return await engine.database_size(retained_name(former.database))
    except PermanentFailure:
        return None


def check_growth(broker: Broker, found: DeletedInstance, plan: Plan, occupancy: Occupancy) -> None:
    """Make sure that the server can take a deleted database with another plan.

    Raises:
        Unprocessable: It lacks the plan's labels, or what the plan promises.
    """
    former = found.instance
    if plan.id == former.plan_id:
        return
    before = broker.catalog.find_plan(former.service_id, former.plan_id)
    try:
        broker.servers.check_growth(former.server, before, plan, occupancy)
    except UpdateRefused as exc:
        raise Unprocessable(
            f"The deleted database cannot be restored into the plan {plan.name!r}: its server has "
            "no room for what that plan promises, or is not of the kind that it needs. Choose the "
            "plan it had. Nothing has been changed."
        ) from exc


async def begin_restore(
    broker: Broker,
    state: StateTransaction,
    found: DeletedInstance,
    request: ProvisionRequest,
    work: Work,
) -> Work | None:
    """Record the instance that gets the database of a deleted one, and its operation.

    Returns:
        The work with the deleted instance; ``None`` when the instance was recorded by another
        request in the meantime.

    Raises:
        InvalidRequest: The database has been given away or dropped in the meantime.
    """
    locked = await state.deleted.lock(found.id)
    taken = locked is None or locked.stage is not Stage.RETAINED
    # Perhaps by the same request, sent twice. Read without a lock: its holder may wait for ours.
    if taken and await broker.store.instance(work.instance.key) is not None:
        return None
    return await attach(broker, state, check_same_place(locked, request), work)


async def attach(
    broker: Broker, state: StateTransaction, deleted: DeletedInstance, work: Work
) -> Work | None:
    """Record an instance together with the deleted one, retained and locked, that it comes from.

    Returns:
        The work with the deleted instance; ``None`` when the instance's id is taken by then.
    """
    # Whether it was full when it was deleted is not known here; a measurement finds out.
    work = replace(work, instance=replace(work.instance, storage=StorageState.RELEASING))
    if not await state.record(work.operation, work.instance, lease=broker.lease):
        return None
    restoring = deleted.moved(Stage.RESTORING, attached=work.instance.key.instance_id)
    await state.deleted.save(restoring)
    return replace(work, deleted=restoring)
