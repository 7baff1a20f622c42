"""The bodies of the protocol: what is read of requests, and what responses look like.

Unknown fields are ignored, as the specification demands ("Vendor Extension Fields").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, StringConstraints

from broker.domain import requests as ask
from broker.domain.storage import StorageState, notice

if TYPE_CHECKING:
    from datetime import datetime

    from broker.domain.instance import BindingKey, InstanceKey
    from broker.domain.operation import Caller, Operation
    from broker.domain.storage import StorageUse
    from broker.service.fetch import BindingView, InstanceView

Id = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Text = Annotated[str, StringConstraints(max_length=255)]
JsonObject = dict[str, Any]


class _Query(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Hints(_Query):
    """The query of a fetch."""

    service_id: Id | None = None
    plan_id: Id | None = None

    def request(self, caller: Caller) -> ask.FetchRequest:
        """Return what is asked for."""
        return ask.FetchRequest(caller=caller, service_id=self.service_id, plan_id=self.plan_id)


class Poll(Hints):
    """The query of a ``last_operation``."""

    operation: Annotated[str, StringConstraints(min_length=1, max_length=10_000)] | None = None

    def poll(
        self, caller: Caller, key: InstanceKey, binding_id: str | None = None
    ) -> ask.LastOperationRequest:
        """Return what is asked for."""
        return ask.LastOperationRequest(
            caller=caller,
            instance=key,
            binding_id=binding_id,
            service_id=self.service_id,
            plan_id=self.plan_id,
            operation=self.operation,
        )


class Patience(_Query):
    """The query of a change."""

    accepts_incomplete: bool = False


class Deletion(Patience):
    """The query of a deprovision or unbind."""

    service_id: Id
    plan_id: Id

    def deprovision(self, caller: Caller, key: InstanceKey) -> ask.DeprovisionRequest:
        """Return what is asked for."""
        return ask.DeprovisionRequest(caller=caller, instance=key, **self.model_dump())

    def unbind(self, caller: Caller, key: BindingKey) -> ask.UnbindRequest:
        """Return what is asked for."""
        return ask.UnbindRequest(caller=caller, binding=key, **self.model_dump())


class _Body(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)


class MaintenanceInfo(_Body):
    """OSB API 2.17, "Maintenance Info Object": only the version counts in a request."""

    version: Text


class PreviousValues(_Body):
    """OSB API 2.17, "Previous Values Object"."""

    service_id: Text | None = None
    plan_id: Text | None = None


class ProvisionBody(_Body):
    """OSB API 2.17, "Provisioning"."""

    service_id: Id
    plan_id: Id
    context: JsonObject | None = None
    organization_guid: Text | None = None
    space_guid: Text | None = None
    parameters: JsonObject | None = None
    maintenance_info: MaintenanceInfo | None = None

    def request(self, caller: Caller, key: InstanceKey, query: Patience) -> ask.ProvisionRequest:
        """Return what is asked for."""
        return ask.ProvisionRequest(
            caller=caller,
            instance=key,
            service_id=self.service_id,
            plan_id=self.plan_id,
            parameters=self.parameters or {},
            context=self.context or {},
            organization_guid=self.organization_guid or None,
            space_guid=self.space_guid or None,
            maintenance_version=_version(self.maintenance_info),
            accepts_incomplete=query.accepts_incomplete,
        )


class UpdateBody(_Body):
    """OSB API 2.17, "Updating a Service Instance"."""

    service_id: Id
    plan_id: Id | None = None
    context: JsonObject | None = None
    parameters: JsonObject | None = None
    previous_values: PreviousValues | None = None
    maintenance_info: MaintenanceInfo | None = None

    def request(self, caller: Caller, key: InstanceKey, query: Patience) -> ask.UpdateRequest:
        """Return what is asked for."""
        previous = self.previous_values or PreviousValues()
        return ask.UpdateRequest(
            caller=caller,
            instance=key,
            service_id=self.service_id,
            plan_id=self.plan_id,
            parameters=self.parameters,
            context=self.context,
            previous_plan_id=previous.plan_id,
            previous_service_id=previous.service_id,
            maintenance_version=_version(self.maintenance_info),
            accepts_incomplete=query.accepts_incomplete,
        )


class BindBody(_Body):
    """OSB API 2.17, "Binding" and "Binding Rotation"."""

    service_id: Id | None = None
    plan_id: Id | None = None
    context: JsonObject | None = None
    app_guid: Text | None = None
    bind_resource: JsonObject | None = None
    parameters: JsonObject | None = None
    predecessor_binding_id: Id | None = None

    def request(self, caller: Caller, key: BindingKey, query: Patience) -> ask.BindRequest:
        """Return what is asked for."""
        return ask.BindRequest(
            caller=caller,
            binding=key,
            service_id=self.service_id,
            plan_id=self.plan_id,
            parameters=self.parameters,
            context=self.context or {},
            bind_resource=self.bind_resource or {},
            app_guid=self.app_guid,
            predecessor_id=self.predecessor_binding_id,
            accepts_incomplete=query.accepts_incomplete,
        )


def _version(info: MaintenanceInfo | None) -> str | None:
    return info.version if info is not None else None


def timestamp(moment: datetime) -> str:
    """Format a UTC time as the specification's ``yyyy-mm-ddThh:mm:ss.sZ``."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 100_000}Z"


def instance_body(view: InstanceView) -> JsonObject:
    """Render "Fetching a Service Instance"."""
    instance = view.instance
    body: JsonObject = {
        "service_id": instance.service_id,
        "plan_id": instance.plan_id,
        "parameters": dict(instance.parameters),
    }
    if instance.maintenance_version is not None:
        body["maintenance_info"] = {"version": instance.maintenance_version}
    if view.storage_use is not None:
        body["metadata"] = {"attributes": _storage_attributes(view, view.storage_use)}
    return body


def _storage_attributes(view: InstanceView, use: StorageUse) -> JsonObject:
    full = view.instance.storage is StorageState.FULL
    attributes = {
        "storage_limit_bytes": view.storage_limit,
        "storage_used_bytes": use.used,
        "storage_measured_at": timestamp(use.measured_at),
        "read_only": full,
    }
    if full:
        attributes["notice"] = notice(use, limit=view.storage_limit)
    return attributes


def bind_body(view: BindingView | None) -> JsonObject:
    """Render the answer to a bind; there is nothing to see of one that goes on."""
    if view is None:
        return {}
    binding = view.binding
    moments = {"expires_at": binding.expires_at, "renew_before": binding.renew_before}
    metadata = {name: timestamp(moment) for name, moment in moments.items() if moment is not None}
    endpoint = {"host": view.endpoint.host, "ports": [str(view.endpoint.port)], "protocol": "tcp"}
    body: JsonObject = {"endpoints": [endpoint]}
    if view.credentials is not None:
        body["credentials"] = view.credentials
    return {"metadata": metadata, **body} if metadata else body


def binding_body(view: BindingView) -> JsonObject:
    """Render "Fetching a Service Binding"."""
    return {**bind_body(view), "parameters": dict(view.binding.parameters)}


def operation_body(operation: Operation) -> JsonObject:
    """Render "Polling Last Operation"."""
    body: JsonObject = {"state": operation.state.value}
    fields = {
        "description": operation.progress,
        "instance_usable": operation.instance_usable,
        "update_repeatable": operation.update_repeatable,
    }
    return body | {name: value for name, value in fields.items() if value is not None}
