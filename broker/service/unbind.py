"""Unbind: ``DELETE .../service_bindings/:binding_id`` (OSB API 2.17, "Unbinding")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.domain import decide, decide_bindings
from broker.domain.errors import Gone
from broker.domain.instance import Status
from broker.domain.operation import OperationKind, Work
from broker.service.context import (
    Broker,
    Outcome,
    carry_out,
    check_asynchronous,
    halt,
    new_operation,
    operation_on,
    unblocking,
)
from broker.service.unknown import certainly_gone

if TYPE_CHECKING:
    from broker.domain.operation import Operation
    from broker.domain.requests import UnbindRequest


async def unbind(broker: Broker, request: UnbindRequest) -> Outcome:
    """Revoke a binding's credentials; what its login created goes to the owner role.

    Raises:
        Gone: There is no such binding.
        InvalidRequest: The service or the plan is not the instance's.
        Unprocessable: ``AsyncRequired`` or ``ConcurrencyError``.
        TemporaryFailure: The state database or the server is out of reach; or there is no such
            binding, and the state looks lost.
    """
    key = request.binding
    async with (
        certainly_gone(broker),
        unblocking(broker) as blockers,
        broker.store.transaction() as state,
    ):
        instance = await state.instance(key.instance)
        stored = await state.binding(key)
        if instance is None or stored is None:
            raise Gone("There is no such service binding.")
        decide.check_ids(
            instance,
            service_id=request.service_id,
            plan_id=request.plan_id,
            former_plans=True,
            wanted_plan=broker.catalog.find_plan(instance.service_id, request.plan_id),
        )
        plan = broker.catalog.find_plan(instance.service_id, instance.plan_id)
        check_asynchronous(plan, accepts_incomplete=request.accepts_incomplete)
        active = blockers.found(await state.active_operations(key.instance))
        task: Work | Operation
        match decide_bindings.decide_unbind(
            operation_on(active), operation_on(active, key.binding_id)
        ):
            case decide.Await(operation=task):
                pass
            case decide.Create() | decide.Halt() as decision:
                if isinstance(decision, decide.Halt):
                    await halt(state, decision.operations)
                operation = new_operation(
                    broker,
                    OperationKind.UNBIND,
                    key.instance,
                    request.caller,
                    binding_id=key.binding_id,
                )
                await state.record(operation, Status.DELETING, lease=broker.lease)
                task = Work(operation, instance, (stored,))
    return await carry_out(broker, task, plan=plan, accepts_incomplete=request.accepts_incomplete)
