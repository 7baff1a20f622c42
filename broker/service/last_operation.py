"""Poll the last operation (OSB API 2.17, "Polling Last Operation")."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from broker.domain import decide
from broker.domain.errors import Gone, InvalidRequest, NotFound
from broker.domain.instance import BindingKey
from broker.domain.operation import OperationKind, OperationState
from broker.domain.storage import StorageState, notice

if TYPE_CHECKING:
    from broker.domain.instance import Instance
    from broker.domain.operation import Operation
    from broker.domain.requests import LastOperationRequest
    from broker.service.context import Broker

_NOTHING = "There is no such service instance or binding."
_DELETIONS = {OperationKind.DEPROVISION, OperationKind.UNBIND}


async def last_operation(broker: Broker, request: LastOperationRequest) -> Operation:
    """Return the operation a platform polls: the one it names, or else the newest.

    Raises:
        InvalidRequest: It names one that is not of this instance or binding, or a hint is wrong.
        NotFound: There is no such instance or binding: it was never asked for, or made and then
            deleted in some other operation.
        Gone: The deletion it polls is done.
    """
    operation = await _find(broker, request)
    instance = await broker.store.instance(request.instance)
    if instance is not None:
        decide.check_ids(
            instance, service_id=request.service_id, plan_id=request.plan_id, former_plans=True
        )
    if operation.state is OperationState.SUCCEEDED:
        if operation.kind in _DELETIONS:
            raise Gone("It has been deleted.")
        if instance is None or not await _is_there(broker, request):
            raise NotFound(_NOTHING)
        if instance.storage is StorageState.FULL:
            return replace(operation, description=await _why_read_only(broker, instance))
    return operation


async def _why_read_only(broker: Broker, instance: Instance) -> str:
    plan = broker.catalog.find_plan(instance.service_id, instance.plan_id)
    limit = plan.limits.storage if plan else None
    return notice(await broker.store.storage.of(instance.key), limit=limit)


async def _is_there(broker: Broker, request: LastOperationRequest) -> bool:
    if request.binding_id is None:
        return True
    key = BindingKey(request.instance, request.binding_id)
    return await broker.store.binding(key) is not None


async def _find(broker: Broker, request: LastOperationRequest) -> Operation:
    newest = await broker.store.last_operation(request.instance, request.binding_id)
    if newest is None:
        raise NotFound(_NOTHING)
    if request.operation in {None, str(newest.id)}:
        return newest
    refusal = InvalidRequest("operation is not one of this service instance or binding.")
    try:
        operation_id = UUID(request.operation or "")
    except ValueError:
        raise refusal from None
    operation = await broker.store.operation(operation_id)
    if (
        operation is None
        or operation.instance != request.instance
        or operation.binding_id != request.binding_id
    ):
        raise refusal
    return operation
