"""What a platform asks for, once HTTP has been taken off: one record per verb."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.domain.instance import BindingKey, InstanceKey
    from broker.domain.operation import Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionRequest:
    """``PUT /v2/service_instances/:instance_id``; the fields are the specification's."""

    caller: Caller
    instance: InstanceKey
    service_id: str
    plan_id: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    context: Mapping[str, Any] = field(default_factory=dict)
    organization_guid: str | None = None
    space_guid: str | None = None
    maintenance_version: str | None = None
    accepts_incomplete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRequest:
    """``PATCH /v2/service_instances/:instance_id``; ``None`` means "not in the request"."""

    caller: Caller
    instance: InstanceKey
    service_id: str
    plan_id: str | None = None
    parameters: Mapping[str, Any] | None = None
    context: Mapping[str, Any] | None = None
    previous_plan_id: str | None = None
    previous_service_id: str | None = None
    maintenance_version: str | None = None
    accepts_incomplete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeprovisionRequest:
    """``DELETE /v2/service_instances/:instance_id``."""

    caller: Caller
    instance: InstanceKey
    service_id: str
    plan_id: str
    accepts_incomplete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BindRequest:
    """``PUT /v2/service_instances/:instance_id/service_bindings/:binding_id``.

    A rotation names its predecessor and need not repeat service, plan or parameters.
    """

    caller: Caller
    binding: BindingKey
    service_id: str | None = None
    plan_id: str | None = None
    parameters: Mapping[str, Any] | None = None
    context: Mapping[str, Any] = field(default_factory=dict)
    bind_resource: Mapping[str, Any] = field(default_factory=dict)
    app_guid: str | None = None
    predecessor_id: str | None = None
    accepts_incomplete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UnbindRequest:
    """``DELETE /v2/service_instances/:instance_id/service_bindings/:binding_id``."""

    caller: Caller
    binding: BindingKey
    service_id: str
    plan_id: str
    accepts_incomplete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """A ``GET`` of an instance or binding, with the hints the platform gave."""

    caller: Caller
    service_id: str | None = None
    plan_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastOperationRequest:
    """``GET .../last_operation``.

    Attributes:
        operation: The ``operation`` the platform was given, as it sent it back.
    """

    caller: Caller
    instance: InstanceKey
    binding_id: str | None = None
    service_id: str | None = None
    plan_id: str | None = None
    operation: str | None = None
