"""Update: ``PATCH /v2/service_instances/:instance_id``.

Specification: OSB API 2.17, "Updating a Service Instance".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.domain import decide
from broker.domain.errors import NotFound, UpdateRefused
from broker.domain.operation import OperationKind, UpdateTarget, Work
from broker.domain.parameters import InstanceParameters, merge_parameters, update_extensions
from broker.service.context import (
    UNCHANGED,
    Broker,
    Outcome,
    carry_out,
    check_asynchronous,
    new_operation,
    unblocking,
)

if TYPE_CHECKING:
    from broker.domain.catalog import Plan
    from broker.domain.instance import Instance
    from broker.domain.operation import Operation
    from broker.domain.requests import UpdateRequest
    from broker.service.ports import StateTransaction


class _ToBeMeasured(Exception):
    """A database has to be measured, which is not done while its instance's row is locked."""

    def __init__(self, server: str, database: str) -> None:
        super().__init__()
        self.server = server
        self.database = database


async def update(broker: Broker, request: UpdateRequest) -> Outcome:
    """Change the plan, the parameters, the context or the maintenance version of an instance.

    Raises:
        NotFound: There is no such instance.
        InvalidRequest: The service, the plan or a parameter is wrong.
        UpdateRefused: It cannot be done; nothing has changed.
        Unprocessable: ``AsyncRequired``, ``ConcurrencyError`` or ``MaintenanceInfoConflict``.
        TemporaryFailure: The state database or the server is out of reach.
    """
    stored = await broker.store.instance(request.instance)
    plan = _wanted_plan(broker, request, stored)
    broker.check_parameters(plan.schemas["update"], request.parameters or {})
    check_asynchronous(plan, accepts_incomplete=request.accepts_incomplete)
    try:
        task = await _begin(broker, request, plan)
    except _ToBeMeasured as unmeasured:
        size = await broker.servers.engine(unmeasured.server).database_size(unmeasured.database)
        decide.check_storage(plan, size)
        task = await _begin(broker, request, plan, measured=True)
    if task is None:
        return UNCHANGED
    return await carry_out(broker, task, plan=plan, accepts_incomplete=request.accepts_incomplete)


async def _begin(
    broker: Broker, request: UpdateRequest, plan: Plan, *, measured: bool = False
) -> Work | Operation | None:
    """Decide what a request leads to, in one transaction; ``None`` when it is done.

    Raises:
        _ToBeMeasured: It has to be known first whether the data fits into the plan.
    """
    async with unblocking(broker) as blockers, broker.store.transaction() as state:
        stored = await state.instance(request.instance)
        if stored is None:
            raise NotFound("There is no such service instance.")
        target = _target(broker, request, stored, plan)
        active = blockers.found(await state.active_operations(request.instance))
        match decide.decide_update(target, stored, next(iter(active), None)):
            case decide.Replay():
                return None
            case decide.Await(operation=running):
                return running
            case decide.Create():
                if plan.id != stored.plan_id:
                    if plan.limits.storage is not None and not measured:
                        raise _ToBeMeasured(stored.server, stored.database)
                    await _check_growth(broker, state, stored, plan)
                operation = new_operation(
                    broker, OperationKind.UPDATE, request.instance, request.caller, target=target
                )
                await state.add_operation(operation, lease=broker.lease)
                return Work(operation, stored, tuple(await state.bindings(request.instance)))


async def _check_growth(
    broker: Broker, state: StateTransaction, stored: Instance, plan: Plan
) -> None:
    """Refuse a plan that promises more than the instance's server has left."""
    before = broker.catalog.find_plan(stored.service_id, stored.plan_id)
    occupancy = await state.occupancy(exclusively=True)
    broker.servers.check_growth(stored.server, before, plan, occupancy)


def _wanted_plan(broker: Broker, request: UpdateRequest, stored: Instance | None) -> Plan:
    offering = broker.catalog.offering(request.service_id)
    if stored is not None:
        decide.check_ids(stored, service_id=request.service_id, plan_id=None)
    if request.plan_id is not None:
        return broker.catalog.plan(request.service_id, request.plan_id)
    if stored is None:
        raise NotFound("There is no such service instance.")
    plan = offering.plan(stored.plan_id)
    if plan is None:
        raise UpdateRefused(
            "The plan of this service instance is no longer in the catalog, so it can only be "
            "deleted. Nothing has been changed.",
            instance_usable=True,
            update_repeatable=False,
        )
    return plan


def _target(broker: Broker, request: UpdateRequest, stored: Instance, plan: Plan) -> UpdateTarget:
    decide.check_ids(stored, service_id=request.service_id, plan_id=None)
    decide.check_previous_values(request, stored)
    decide.check_maintenance(plan, request.maintenance_version)
    decide.check_plan_change(broker.catalog.offering(stored.service_id).plan(stored.plan_id), plan)
    parameters = merge_parameters(stored.parameters, request.parameters)
    maintained = request.maintenance_version is not None or plan.id != stored.plan_id
    current = plan.maintenance_info.version if plan.maintenance_info else None
    return UpdateTarget(
        plan_id=plan.id,
        parameters=parameters,
        context=request.context if request.context is not None else stored.context,
        extensions=update_extensions(
            plan,
            installed=stored.extensions,
            before=InstanceParameters.parse(stored.parameters),
            after=InstanceParameters.parse(parameters),
        ),
        maintenance_version=current if maintained else stored.maintenance_version,
    )
