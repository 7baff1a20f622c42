"""Fetch an instance or a binding (OSB API 2.17, "Fetching a Service Instance", "... Binding")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from broker.domain import decide
from broker.domain.credentials import credentials_document
from broker.domain.errors import ConcurrencyError, NotFound
from broker.domain.instance import Status
from broker.domain.operation import OperationKind, OperationState

if TYPE_CHECKING:
    from broker.domain.database import Endpoint
    from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey
    from broker.domain.requests import FetchRequest
    from broker.domain.storage import StorageUse
    from broker.service.context import Broker


@dataclass(frozen=True, slots=True)
class BindingView:
    """A binding as its platform may see it.

    Attributes:
        binding: The record.
        credentials: The credentials, password included; ``None`` when the password is lost.
        endpoint: Where they work.
    """

    binding: Binding
    credentials: dict[str, Any] | None
    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class InstanceView:
    """An instance as its platform may see it.

    Attributes:
        instance: The record.
        storage_limit: What its plan lets it occupy, in bytes, if there is a limit.
        storage_use: What it was last seen to occupy, if that was ever measured.
    """

    instance: Instance
    storage_limit: int | None = None
    storage_use: StorageUse | None = None


def view_binding(broker: Broker, instance: Instance, binding: Binding) -> BindingView:
    """Put a binding and its credentials together.

    Raises:
        ServerUnavailable: The instance's server is no longer configured.
    """
    endpoint = broker.servers.endpoint(instance.server)
    credentials = None
    if binding.secret is not None:
        credentials = credentials_document(
            endpoint=endpoint,
            database=instance.database,
            username=binding.login,
            password=binding.secret.password,
        )
    return BindingView(binding=binding, credentials=credentials, endpoint=endpoint)


async def fetch_instance(broker: Broker, key: InstanceKey, request: FetchRequest) -> InstanceView:
    """Return an instance, and what it occupies.

    Raises:
        NotFound: There is none, or it is not finished, or it is being deleted.
        InvalidRequest: A hint names another service or plan.
        ConcurrencyError: It is being updated.
    """
    instance = await broker.store.instance(key)
    if instance is None or instance.status is not Status.READY:
        raise NotFound("There is no such service instance, or it is not finished.")
    decide.check_ids(
        instance, service_id=request.service_id, plan_id=request.plan_id, former_plans=True
    )
    latest = await broker.store.last_operation(key)
    if (
        latest is not None
        and latest.kind is OperationKind.UPDATE
        and latest.state is OperationState.IN_PROGRESS
    ):
        raise ConcurrencyError("This service instance is being updated.")
    plan = broker.catalog.find_plan(instance.service_id, instance.plan_id)
    limit = plan.limits.storage if plan else None
    use = None if limit is None else await broker.store.storage.of(key)
    return InstanceView(instance, limit, use)


async def fetch_binding(broker: Broker, key: BindingKey, request: FetchRequest) -> BindingView:
    """Return a binding with its credentials.

    Raises:
        NotFound: There is none, or it is not finished, or it is being deleted.
        InvalidRequest: A hint names another service or plan.
    """
    instance = await broker.store.instance(key.instance)
    binding = await broker.store.binding(key)
    if (
        instance is None
        or binding is None
        or not (instance.status is binding.status is Status.READY)
    ):
        raise NotFound("There is no such service binding, or it is not finished.")
    decide.check_ids(
        instance, service_id=request.service_id, plan_id=request.plan_id, former_plans=True
    )
    return view_binding(broker, instance, binding)
