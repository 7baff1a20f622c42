"""Provision: ``PUT /v2/service_instances/:instance_id`` (OSB API 2.17, "Provisioning")."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from broker.domain import decide, names
from broker.domain.errors import PoolExhausted
from broker.domain.instance import Instance, Status
from broker.domain.operation import OperationKind, Work
from broker.domain.parameters import RESTORE_FROM, InstanceParameters, provision_extensions
from broker.domain.warm import ANYWHERE, Location
from broker.service.context import (
    UNCHANGED,
    Broker,
    Outcome,
    Progress,
    carry_out,
    check_asynchronous,
    new_operation,
    operation_on,
)
from broker.service.deleted import begin_restore, check_growth, find_source
from broker.service.warm import claim, hand_over, is_all

if TYPE_CHECKING:
    from broker.domain.catalog import Plan
    from broker.domain.deleted import DeletedInstance
    from broker.domain.operation import Operation
    from broker.domain.requests import ProvisionRequest
    from broker.service.ports import StateTransaction

log = structlog.get_logger()

YIELDS = 3
"""How often the warm stock may be asked to make room for one request."""


class _Overtaken(Exception):
    """Another request with the same id was quicker; what this one did is to be rolled back."""


async def provision(broker: Broker, request: ProvisionRequest) -> Outcome:
    """Make a database of a plan, or give an instance the database of a deleted one.

    Raises:
        InvalidRequest: The service, the plan or a parameter is wrong, or there is no such deleted
            instance for this platform in this place.
        Conflict: The id is taken by an instance with other attributes.
        Unprocessable: ``AsyncRequired``, ``ConcurrencyError``, ``MaintenanceInfoConflict``, or the
            server cannot make such a database.
        TemporaryFailure: The state database or the server is out of reach, or all are full.
    """
    plan = broker.catalog.plan(request.service_id, request.plan_id)
    broker.check_parameters(plan.schemas["provision"], request.parameters)
    check_asynchronous(plan, accepts_incomplete=request.accepts_incomplete)
    if is_all(request, plan) and await _hand_over(broker, request, plan):
        return Outcome(Progress.DONE)
    task = await _task(broker, request, plan)
    if task is None:
        return UNCHANGED
    return await carry_out(broker, task, plan=plan, accepts_incomplete=request.accepts_incomplete)


async def _hand_over(broker: Broker, request: ProvisionRequest, plan: Plan) -> bool:
    """Give a new instance a finished database of the warm stock; ``False`` when that is not so."""
    operation = new_operation(broker, OperationKind.PROVISION, request.instance, request.caller)
    instance = replace(_instance(broker, request, plan, ANYWHERE), status=Status.READY)
    place = await hand_over(broker, instance, operation.succeeded(), plan)
    if place is None:
        return False
    broker.stock.refill_soon()
    log.info("operation succeeded", **operation.log_fields, database=place.database)
    return True


async def _task(broker: Broker, request: ProvisionRequest, plan: Plan) -> Work | Operation | None:
    """Record what is asked for, or find what was recorded before; ``None`` when it is done."""
    if (work := await _record_straight_away(broker, request, plan)) is not None:
        return work
    yields = YIELDS
    while True:
        try:
            return await _begin(broker, request, plan)
        except _Overtaken:
            continue
        except PoolExhausted:
            yields -= 1
            if yields < 0 or not await broker.stock.make_room(plan):
                raise


async def _record_straight_away(
    broker: Broker, request: ProvisionRequest, plan: Plan
) -> Work | None:
    """Record a new instance without a look at what there is, as is right nearly always.

    Returns:
        ``None`` when it has to be looked after all: the id may be taken, the count of what is on
        the servers too old or to be exact, the stock asked first, or the request refused.
    """
    looked_for = RESTORE_FROM in request.parameters or plan.warm or broker.servers.limited(plan)
    if looked_for or not decide.is_maintained(plan, request.maintenance_version):
        return None
    recent = broker.store.recent_occupancy()
    if recent is None:
        return None
    try:
        place = Location(broker.servers.place(plan, recent), names.database_name())
    except PoolExhausted:
        return None
    operation = new_operation(broker, OperationKind.PROVISION, request.instance, request.caller)
    instance = _instance(broker, request, plan, place)
    recorded = await broker.store.record_new(operation, instance, lease=broker.lease)
    return Work(operation, instance) if recorded else None


async def _begin(broker: Broker, request: ProvisionRequest, plan: Plan) -> Work | Operation | None:
    """Decide what a request leads to, in one transaction.

    Raises:
        _Overtaken: Ask again.
        PoolExhausted: No server has room.
    """
    source: DeletedInstance | None = None
    if RESTORE_FROM in request.parameters:
        source = await find_source(broker, request, plan)
    async with broker.store.transaction() as state:
        stored = await state.instance(request.instance)
        active = await state.active_operations(request.instance) if stored else []
        if stored is None or request.maintenance_version != stored.maintenance_version:
            decide.check_maintenance(plan, request.maintenance_version)
        match decide.decide_provision(request, stored, operation_on(active)):
            case decide.Replay():
                return None
            case decide.Await(operation=running):
                return running
            case decide.Create() | decide.Retry():
                claimed = None if stored else await claim(broker, state, request, plan)
                work = await _record(
                    broker, state, request, plan, stored, source=source, claimed=claimed
                )
        if work is None:
            raise _Overtaken
    if plan.warm:
        broker.stock.refill_soon()
    return work


async def _record(
    broker: Broker,
    state: StateTransaction,
    request: ProvisionRequest,
    plan: Plan,
    stored: Instance | None,
    *,
    source: DeletedInstance | None,
    claimed: Location | None,
) -> Work | None:
    """Record the instance and the operation; ``None`` when another request was quicker."""
    operation = new_operation(broker, OperationKind.PROVISION, request.instance, request.caller)
    if stored is not None:
        instance = replace(stored, status=Status.CREATING)
        deleted = await state.deleted.attached(stored.key)
        recorded = await state.record(operation, Status.CREATING, lease=broker.lease)
        return Work(operation, instance, deleted=deleted) if recorded else None
    if claimed is None:
        occupancy = await state.occupancy(exclusively=broker.servers.limited(plan))
        if RESTORE_FROM in request.parameters:
            if source is None:
                return None
            check_growth(broker, source, plan, occupancy)
            place = Location(source.instance.server, names.database_name())
            instance = source.given_to(_instance(broker, request, plan, place))
            return await begin_restore(broker, state, source, request, Work(operation, instance))
        claimed = Location(broker.servers.place(plan, occupancy), names.database_name())
    instance = _instance(broker, request, plan, claimed)
    recorded = await state.record(operation, instance, lease=broker.lease)
    return Work(operation, instance) if recorded else None


def _instance(broker: Broker, request: ProvisionRequest, plan: Plan, place: Location) -> Instance:
    return Instance(
        key=request.instance,
        service_id=request.service_id,
        plan_id=request.plan_id,
        parameters=request.parameters,
        context=request.context,
        server=place.server,
        database=place.database,
        owner=names.owner_name(place.database),
        tag_key_id=broker.tag_key_id,
        created_at=broker.clock(),
        extensions=provision_extensions(plan, InstanceParameters.parse(request.parameters)),
        organization_guid=request.organization_guid,
        space_guid=request.space_guid,
        maintenance_version=plan.maintenance_info.version if plan.maintenance_info else None,
    )
