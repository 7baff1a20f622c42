"""Operations: one recorded change to an instance or a binding.

An operation is recorded, with everything random it needs already chosen, before anything happens
outside the state database. Its steps are then run under a lease, by the process that accepted it
or, if that one died, by whoever takes it over.

::

                    ┌── lease lost: another process takes over ──┐
                    v                                            │
    (recorded) ──> IN_PROGRESS ──────────────────────────────────┘
                    ├──> SUCCEEDED
                    └──> FAILED
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from uuid import UUID

    from broker.domain.deleted import DeletedInstance
    from broker.domain.errors import BrokerError
    from broker.domain.instance import Binding, Instance, InstanceKey


class OperationKind(StrEnum):
    """What an operation does."""

    PROVISION = "provision"
    UPDATE = "update"
    DEPROVISION = "deprovision"
    BIND = "bind"
    UNBIND = "unbind"


class OperationState(StrEnum):
    """The three states of the protocol (OSB API 2.17, "Polling Last Operation")."""

    IN_PROGRESS = "in progress"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


_DOING = {
    OperationKind.PROVISION: "The database is being created.",
    OperationKind.UPDATE: "The database is being changed.",
    OperationKind.DEPROVISION: "The database is being deleted.",
    OperationKind.BIND: "The credentials are being created.",
    OperationKind.UNBIND: "The credentials are being revoked.",
}


@dataclass(frozen=True, slots=True)
class OriginatingIdentity:
    """Who asked, as the platform says (OSB API 2.17, "Originating Identity").

    Attributes:
        platform: The kind of platform, for example ``kubernetes``.
        value: The decoded object.
    """

    platform: str
    value: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request came from.

    Attributes:
        platform: The configured name of the platform whose credentials it carried.
        request_id: ``X-Broker-API-Request-Identity``, or one we made.
        identity: The user behind the request, if the platform says.
    """

    platform: str
    request_id: str
    identity: OriginatingIdentity | None = None


@dataclass(frozen=True, slots=True)
class UpdateTarget:
    """What an instance shall be after an update.

    Attributes:
        plan_id: The plan.
        parameters: All parameters, the update's merged in.
        context: The context.
        extensions: All extensions the broker is to have installed.
        maintenance_version: The maintenance version.
    """

    plan_id: str
    parameters: Mapping[str, Any]
    context: Mapping[str, Any]
    extensions: tuple[str, ...]
    maintenance_version: str | None


@dataclass(frozen=True, slots=True)
class Operation:
    """One recorded change.

    Attributes:
        id: What an asynchronous answer calls ``operation``.
        kind: What it does.
        instance: To which instance.
        binding_id: To which of its bindings, for bind and unbind.
        state: Where it is.
        caller: Who asked.
        lease_token: Who may complete it.
        started_at: When it was recorded.
        target: What an update leads to.
        description: For the user of the platform: what it is doing, or why it failed.
        error: The name of the domain error it failed with (``broker/domain/errors.py``).
        instance_usable: Whether the instance still works after a failed update or deprovision.
        update_repeatable: Whether the same update may succeed when repeated.
    """

    id: UUID
    kind: OperationKind
    instance: InstanceKey
    caller: Caller
    lease_token: UUID
    started_at: datetime
    binding_id: str | None = None
    state: OperationState = OperationState.IN_PROGRESS
    target: UpdateTarget | None = None
    description: str | None = None
    error: str | None = None
    instance_usable: bool | None = None
    update_repeatable: bool | None = None

    @property
    def progress(self) -> str | None:
        """What a user who polls is told: what is being done or waited for, or why it failed."""
        if self.state is OperationState.IN_PROGRESS:
            return self.description or _DOING[self.kind]
        return self.description

    @property
    def log_fields(self) -> dict[str, str]:
        """What a log line about it says of it."""
        fields = {
            "operation": str(self.id),
            "kind": self.kind.value,
            "platform": self.instance.platform,
            "instance": self.instance.instance_id,
            "request": self.caller.request_id,
        }
        return fields if self.binding_id is None else {**fields, "binding": self.binding_id}

    def succeeded(self) -> Operation:
        """Return this operation as it is once all its steps are done."""
        return replace(self, state=OperationState.SUCCEEDED, description=None)

    def failed(self, reason: BrokerError) -> Operation:
        """Return this operation as it is once it has failed for that reason."""
        return replace(
            self,
            state=OperationState.FAILED,
            description=reason.description,
            error=type(reason).__name__,
            instance_usable=reason.instance_usable,
            update_repeatable=reason.update_repeatable,
        )


@dataclass(frozen=True, slots=True)
class Work:
    """An operation with the records it works on.

    Attributes:
        operation: The recorded operation.
        instance: Its instance.
        bindings: The binding of a bind or unbind; all of the instance's for an update or
            deprovision; none for a provision.
        deleted: The retained data that a provision restores from, or that a deprovision keeps.
        resumed: Another process was at work on it before, nobody knows how far.
    """

    operation: Operation
    instance: Instance
    bindings: tuple[Binding, ...] = ()
    deleted: DeletedInstance | None = None
    resumed: bool = False
