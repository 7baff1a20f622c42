"""Poll the last operation (OSB API 2.17, "Polling Last Operation")."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from broker.domain import decide
from broker.domain.errors import Gone, InvalidRequest, NotFound
from broker.domain.operation import OperationKind, OperationState

if TYPE_CHECKING:
    from broker.domain.operation import Operation
    from broker.domain.requests import LastOperationRequest
    from broker.service.context import Broker

_DELETIONS = {OperationKind.DEPROVISION, OperationKind.UNBIND}


async def last_operation(broker: Broker, request: LastOperationRequest) -> Operation:
    """Return the operation a platform polls: the one it names, or else the newest.

    Raises:
        InvalidRequest: It names one that is not of this instance or binding, or a hint is wrong.
        NotFound: Nothing was ever asked for under this id.
        Gone: The deletion it polls is done.
    """
    operation = await _find(broker, request)
    instance = await broker.store.instance(request.instance)
    if instance is not None:
        decide.check_ids(
            instance, service_id=request.service_id, plan_id=request.plan_id, former_plans=True
        )
    if operation.kind in _DELETIONS and operation.state is OperationState.SUCCEEDED:
        raise Gone("It has been deleted.")
    return operation


async def _find(broker: Broker, request: LastOperationRequest) -> Operation:
    if request.operation is None:
        newest = await broker.store.last_operation(request.instance, request.binding_id)
        if newest is None:
            raise NotFound("There is no such service instance or binding.")
        return newest
    refusal = InvalidRequest("operation is not one of this service instance or binding.")
    try:
        operation_id = UUID(request.operation)
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
