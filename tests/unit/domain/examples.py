"""Records to decide about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from broker.domain.catalog import BindingPolicy, Extensions, MaintenanceInfo, Plan
from broker.domain.credentials import LoginSecret, Secret
from broker.domain.database import Access, Limits
from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey, Status
from broker.domain.operation import Caller, Operation, OperationKind
from broker.domain.requests import BindRequest, ProvisionRequest, UpdateRequest

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
CALLER = Caller("kubernetes", "request-1")
KEY = InstanceKey("kubernetes", "instance-1")
BINDING_KEY = BindingKey(KEY, "binding-1")

PLAN = Plan(
    id="small-id",
    name="small",
    description="A small one.",
    limits=Limits(connections=5, connections_per_binding=3, storage=1000),
    bindings=BindingPolicy({"rw": Access.WRITE, "ro": Access.READ}, "rw"),
    extensions=Extensions(allowed=("citext", "hstore", "pg_trgm"), default=("citext",)),
    update_to=("big",),
    maintenance_info=MaintenanceInfo("1.0.0"),
)
BIG = replace(PLAN, id="big-id", name="big", update_to=())

INSTANCE = Instance(
    key=KEY,
    service_id="service-id",
    plan_id="small-id",
    parameters={"extensions": ["hstore"]},
    context={"platform": "kubernetes", "namespace": "default", "instance_name": "first"},
    server="alpha",
    database="dabc",
    owner="dabc_owner",
    tag_key_id="k1",
    created_at=NOW,
    extensions=("citext", "hstore"),
    organization_guid="organization",
    space_guid="space",
    maintenance_version="1.0.0",
    status=Status.READY,
)
BINDING = Binding(
    key=BINDING_KEY,
    parameters={"role": "ro"},
    context={},
    login="uabc",
    access=Access.READ,
    secret=LoginSecret(Secret("password"), Secret("verifier")),
    created_at=NOW,
    bind_resource={"app_guid": "app"},
    app_guid="app",
    status=Status.READY,
)


def a_provision(**changes: Any) -> ProvisionRequest:
    """Return the request that led to ``INSTANCE``, changed."""
    request = ProvisionRequest(
        caller=CALLER,
        instance=KEY,
        service_id=INSTANCE.service_id,
        plan_id=INSTANCE.plan_id,
        parameters=INSTANCE.parameters,
        context=INSTANCE.context,
        organization_guid=INSTANCE.organization_guid,
        space_guid=INSTANCE.space_guid,
    )
    return replace(request, **changes)


def an_update(**changes: Any) -> UpdateRequest:
    """Return an update that asks for nothing, changed."""
    return replace(
        UpdateRequest(caller=CALLER, instance=KEY, service_id=INSTANCE.service_id), **changes
    )


def a_bind(**changes: Any) -> BindRequest:
    """Return the request that led to ``BINDING``, changed."""
    request = BindRequest(
        caller=CALLER,
        binding=BINDING_KEY,
        service_id=INSTANCE.service_id,
        plan_id=INSTANCE.plan_id,
        parameters=BINDING.parameters,
        bind_resource=BINDING.bind_resource,
        app_guid=BINDING.app_guid,
    )
    return replace(request, **changes)


def an_operation(kind: OperationKind, **changes: Any) -> Operation:
    """Return an operation in progress."""
    operation = Operation(
        id=UUID(int=1),
        kind=kind,
        instance=KEY,
        caller=CALLER,
        lease_token=UUID(int=2),
        started_at=NOW - timedelta(seconds=1),
    )
    return replace(operation, **changes)
