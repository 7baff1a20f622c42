"""What a request for a binding means, given what is stored; see ``decide.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.domain.decide import (
    DELETING,
    Await,
    Create,
    Halt,
    Replay,
    Retry,
    check_ids,
    check_usable,
)
from broker.domain.errors import ConcurrencyError, Conflict, InvalidRequest
from broker.domain.instance import Status
from broker.domain.operation import OperationKind

if TYPE_CHECKING:
    from datetime import datetime

    from broker.domain.catalog import Plan
    from broker.domain.instance import Binding, Instance
    from broker.domain.operation import Operation
    from broker.domain.requests import BindRequest


def decide_bind(
    request: BindRequest,
    instance: Instance,
    stored: Binding | None,
    active: Operation | None,
    binding_active: Operation | None,
) -> Create | Retry | Await | Replay:
    """Decide on ``PUT /v2/service_instances/:instance_id/service_bindings/:binding_id``.

    Args:
        request: What is asked for.
        instance: The instance to bind.
        stored: The binding with that id.
        active: The operation in progress on the instance itself.
        binding_active: The operation in progress on the binding.

    Raises:
        Conflict: The binding id is taken by something else.
        ConcurrencyError: The instance or the binding is being changed or deleted.
        Unprocessable: The instance was never finished.
    """
    check_ids(instance, service_id=request.service_id, plan_id=request.plan_id)
    if instance.status is Status.DELETING:
        raise ConcurrencyError(DELETING)
    if stored is not None:
        _check_same_binding(request, stored)
        if stored.status is Status.READY and stored.secret is not None:
            return Replay()
        if stored.status is Status.CREATING and binding_active is not None:
            return Await(binding_active)
    if active is not None:
        raise ConcurrencyError
    check_usable(instance)
    return Create() if stored is None else Retry()


def _check_same_binding(request: BindRequest, stored: Binding) -> None:
    if stored.status is Status.DELETING:
        raise ConcurrencyError(
            "This service binding is being deleted. If that has failed, delete it again."
        )
    # A successor has its predecessor's parameters, whether or not the request repeats them.
    repeats = request.predecessor_id is not None and request.parameters is None
    same = (
        stored.predecessor_id == request.predecessor_id
        and (repeats or stored.parameters == (request.parameters or {}))
        and stored.bind_resource == request.bind_resource
        and stored.app_guid == request.app_guid
    )
    if not same:
        raise Conflict("A service binding with this id already exists with other attributes.")


def check_predecessor(
    predecessor: Binding | None, request: BindRequest, plan: Plan, now: datetime
) -> None:
    """Refuse a rotation that does not start from a valid binding of the same instance.

    Raises:
        InvalidRequest: OSB API 2.17, "Binding Rotation".
    """
    if not plan.binding_rotatable:
        raise InvalidRequest(f"Bindings of the plan {plan.name!r} cannot be rotated.")
    if predecessor is None or predecessor.status is not Status.READY:
        raise InvalidRequest(
            "predecessor_binding_id is not a service binding of this service instance."
        )
    if predecessor.expires_at is not None and predecessor.expires_at <= now:
        raise InvalidRequest(
            "predecessor_binding_id has expired; create a new service binding instead."
        )
    if request.parameters is not None and request.parameters != predecessor.parameters:
        raise InvalidRequest(
            "A successor has the parameters of its predecessor; leave parameters out."
        )


def decide_unbind(
    active: Operation | None, binding_active: Operation | None
) -> Create | Await | Halt:
    """Decide on ``DELETE .../service_bindings/:binding_id`` of a binding that exists.

    Args:
        active: The operation in progress on the instance itself.
        binding_active: The operation in progress on the binding.

    Raises:
        ConcurrencyError: The instance is being changed or deleted.
    """
    if active is not None:
        raise ConcurrencyError
    if binding_active is None:
        return Create()
    if binding_active.kind is OperationKind.UNBIND:
        return Await(binding_active)
    return Halt((binding_active,))
