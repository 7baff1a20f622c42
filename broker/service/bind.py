"""Bind and rotate: ``PUT .../service_bindings/:binding_id`` (OSB API 2.17, "Binding")."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from broker.domain import decide, decide_bindings, names
from broker.domain.credentials import generate_login_secret
from broker.domain.errors import InvalidRequest, NotFound, Unprocessable
from broker.domain.instance import Binding, BindingKey, Instance, Status
from broker.domain.operation import OperationKind, Work
from broker.domain.parameters import binding_access
from broker.service.context import (
    Broker,
    Outcome,
    Progress,
    carry_out,
    check_asynchronous,
    new_operation,
    operation_on,
    unblocking,
)
from broker.service.fetch import BindingView, view_binding

if TYPE_CHECKING:
    from broker.domain.catalog import Plan
    from broker.domain.operation import Operation
    from broker.domain.requests import BindRequest
    from broker.service.ports import StateTransaction


@dataclass(frozen=True, slots=True)
class BindOutcome(Outcome):
    """What a bind led to.

    Attributes:
        view: The binding with its credentials, once it is there.
    """

    view: BindingView | None = None


async def bind(broker: Broker, request: BindRequest) -> BindOutcome:
    """Make credentials for an instance, or a successor for existing ones.

    Raises:
        NotFound: There is no such instance.
        InvalidRequest: The service, the plan, a parameter or the predecessor is wrong.
        Conflict: The binding id is taken by something with other attributes.
        Unprocessable: ``AsyncRequired``, ``ConcurrencyError``, or the instance was never finished.
        TemporaryFailure: The state database or the server is out of reach.
    """
    if request.predecessor_id is None and (request.service_id is None or request.plan_id is None):
        raise InvalidRequest("service_id and plan_id are required to create a service binding.")
    task: Work | Operation | None = None
    while task is None:
        async with unblocking(broker) as blockers, broker.store.transaction() as state:
            key = request.binding
            instance = await state.instance(key.instance)
            if instance is None:
                raise NotFound("There is no such service instance.")
            bound = instance
            plan = _plan(broker, bound)
            check_asynchronous(plan, accepts_incomplete=request.accepts_incomplete)
            broker.check_parameters(plan.schemas["bind"], request.parameters or {})
            stored = await state.binding(key)
            active = blockers.found(await state.active_operations(key.instance))
            match decide_bindings.decide_bind(
                request,
                instance,
                stored,
                operation_on(active),
                operation_on(active, key.binding_id),
            ):
                case decide.Replay():
                    view = view_binding(broker, instance, stored) if stored else None
                    return BindOutcome(Progress.UNCHANGED, view=view)
                case decide.Await(operation=task):
                    pass
                case decide.Create() | decide.Retry():
                    task = await _record(broker, state, request, instance=bound, stored=stored)
    outcome = await carry_out(
        broker, task, plan=plan, accepts_incomplete=request.accepts_incomplete
    )
    if outcome.progress is Progress.ACCEPTED:
        return BindOutcome(outcome.progress, outcome.operation_id)
    made = task.bindings[0] if isinstance(task, Work) else await broker.store.binding(key)
    if made is None:
        raise NotFound("This service binding was deleted while it was being created.")
    return BindOutcome(outcome.progress, view=view_binding(broker, bound, made))


def _plan(broker: Broker, instance: Instance) -> Plan:
    plan = broker.catalog.find_plan(instance.service_id, instance.plan_id)
    if plan is None:
        raise Unprocessable(
            "The plan of this service instance is no longer in the catalog, so it cannot be bound."
        )
    if not plan.bindable:
        raise InvalidRequest(f"Service instances of the plan {plan.name!r} cannot be bound.")
    return plan


async def _record(
    broker: Broker,
    state: StateTransaction,
    request: BindRequest,
    *,
    instance: Instance,
    stored: Binding | None,
) -> Work | None:
    """Record the binding and the operation; ``None`` when another request was quicker."""
    key = request.binding
    plan = _plan(broker, instance)
    operation = new_operation(
        broker, OperationKind.BIND, key.instance, request.caller, binding_id=key.binding_id
    )
    if stored is not None:
        if stored.expires_at is not None and stored.expires_at <= broker.clock():
            raise Unprocessable(
                "The credentials of this binding have expired before it was asked for again. Ask "
                "for one with another id; nothing has been changed."
            )
        binding = replace(stored, status=Status.CREATING)
        if stored.secret is None:
            binding = replace(binding, secret=generate_login_secret())
            await state.set_binding_secret(binding)
        recorded = await state.record(operation, Status.CREATING, lease=broker.lease)
    else:
        predecessor = None
        if request.predecessor_id is not None:
            predecessor = await state.binding(BindingKey(key.instance, request.predecessor_id))
            decide_bindings.check_predecessor(predecessor, request, plan, broker.clock())
        binding = _binding(broker, request, plan, predecessor)
        recorded = await state.record(operation, binding, lease=broker.lease)
    return Work(operation, instance, (binding,)) if recorded else None


def _binding(
    broker: Broker, request: BindRequest, plan: Plan, predecessor: Binding | None
) -> Binding:
    now = broker.clock()
    parameters = predecessor.parameters if predecessor else (request.parameters or {})
    policy = plan.bindings
    expires_at = now + policy.time_to_live if policy.time_to_live else None
    return Binding(
        key=request.binding,
        parameters=parameters,
        context=request.context,
        login=names.login_name(),
        access=predecessor.access if predecessor else binding_access(plan, parameters),
        secret=generate_login_secret(),
        created_at=now,
        bind_resource=request.bind_resource,
        app_guid=request.app_guid,
        predecessor_id=request.predecessor_id,
        expires_at=expires_at,
        renew_before=(
            expires_at - policy.renew_before if expires_at and policy.renew_before else None
        ),
    )
