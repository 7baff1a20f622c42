"""Deprovision: ``DELETE /v2/service_instances/:instance_id`` (OSB API 2.17, "Deprovisioning")."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.domain import decide
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
)
from broker.service.deleted import set_aside
from broker.service.unknown import certainly_gone

if TYPE_CHECKING:
    from broker.domain.operation import Operation
    from broker.domain.requests import DeprovisionRequest


async def deprovision(broker: Broker, request: DeprovisionRequest) -> Outcome:
    """Take an instance away, with its bindings if the platform left any.

    Works for plans that are no longer in the catalog, and for instances that were never finished.
    Where the plan says so, the database is kept for a while (``service/deleted.py``).

    Raises:
        Gone: There is no such instance.
        InvalidRequest: The service or the plan is not the instance's.
        Unprocessable: ``AsyncRequired`` or ``ConcurrencyError``.
        TemporaryFailure: The state database or the server is out of reach; or there is no such
            instance, and the state looks lost.
    """
    async with certainly_gone(broker), broker.store.transaction() as state:
        stored = await state.instance(request.instance)
        if stored is None:
            # Whoever gave up on making it may be quicker than the replica that makes it.
            stored = await state.instance_being_added(request.instance)
        if stored is None:
            raise Gone("There is no such service instance.")
        decide.check_ids(
            stored,
            service_id=request.service_id,
            plan_id=request.plan_id,
            former_plans=True,
            wanted_plan=broker.catalog.find_plan(stored.service_id, request.plan_id),
        )
        plan = broker.catalog.find_plan(stored.service_id, stored.plan_id)
        check_asynchronous(plan, accepts_incomplete=request.accepts_incomplete)
        active = await state.active_operations(request.instance)
        task: Work | Operation
        match decide.decide_deprovision(active):
            case decide.Await(operation=task):
                pass
            case decide.Create() | decide.Halt() as decision:
                if isinstance(decision, decide.Halt):
                    await halt(state, decision.operations)
                deleted = await set_aside(broker, state, stored, plan)
                operation = new_operation(
                    broker, OperationKind.DEPROVISION, request.instance, request.caller
                )
                await state.record(operation, Status.DELETING, lease=broker.lease)
                bindings = tuple(await state.bindings(request.instance))
                task = Work(operation, stored, bindings, deleted)
    return await carry_out(broker, task, plan=plan, accepts_incomplete=request.accepts_incomplete)
