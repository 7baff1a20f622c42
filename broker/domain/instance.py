"""Service instances and service bindings, as the state database remembers them."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from broker.domain.database import Access
from broker.domain.storage import StorageState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from broker.domain.credentials import LoginSecret


class Status(StrEnum):
    """Where an instance or a binding is in its life.

    ::

        CREATING ──> READY ──> DELETING ──> (row removed)
            │          └─ stays READY while it is updated
            └──> FAILED ──> DELETING
    """

    CREATING = "creating"
    READY = "ready"
    FAILED = "failed"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class InstanceKey:
    """Which instance: ids are a platform's own, so two platforms may use the same one.

    Attributes:
        platform: The configured name of the platform that made it.
        instance_id: The platform's id.
    """

    platform: str
    instance_id: str


@dataclass(frozen=True, slots=True)
class BindingKey:
    """Which binding of which instance."""

    instance: InstanceKey
    binding_id: str


@dataclass(frozen=True, slots=True)
class Instance:
    """A service instance: one database on one server.

    Attributes:
        key: Which one.
        service_id: Its offering.
        plan_id: Its plan.
        former_plan_ids: Plans it had before; a platform that missed the answer to an update still
            names one of them when it deletes.
        parameters: As the user gave them, all updates merged in.
        context: As the platform last sent it.
        organization_guid: The deprecated top-level field, if the platform sent it.
        space_guid: Likewise.
        maintenance_version: The plan's maintenance version it was made or updated with.
        server: The server that holds the database.
        database: The database and its read-only group role.
        owner: The role that owns what applications create.
        tag_key_id: The key that makes its tags and those of its bindings, for as long as it lives.
        extensions: Extensions the broker installed.
        status: Where it is in its life.
        storage: Whether its plan's storage limit lets its bindings write.
        created_at: When the platform asked for it.
    """

    key: InstanceKey
    service_id: str
    plan_id: str
    parameters: Mapping[str, Any]
    context: Mapping[str, Any]
    server: str
    database: str
    owner: str
    tag_key_id: str
    created_at: datetime
    extensions: tuple[str, ...] = ()
    organization_guid: str | None = None
    space_guid: str | None = None
    maintenance_version: str | None = None
    former_plan_ids: tuple[str, ...] = ()
    status: Status = Status.CREATING
    storage: StorageState = StorageState.WITHIN

    def access_of(self, binding: Binding) -> Access:
        """Return what a binding may do now: while the database is full, none may write."""
        return Access.READ if self.storage is StorageState.FULL else binding.access

    def is_newer_than(self, other: Instance) -> bool:
        """Tell whether this one has had the other one's plan before, and not the reverse."""
        later = other.plan_id in self.former_plan_ids
        return later and self.plan_id not in (other.plan_id, *other.former_plan_ids)


@dataclass(frozen=True, slots=True)
class Binding:
    """A service binding: one login role.

    Attributes:
        key: Which one.
        parameters: As the user gave them (a successor has its predecessor's).
        context: As the platform sent it.
        bind_resource: As the platform sent it.
        app_guid: The deprecated top-level field, if the platform sent it.
        predecessor_id: The binding it replaces, if it came by rotation.
        login: The login role.
        access: What it may do.
        secret: Its password and verifier, encrypted at rest; ``None`` when they were lost with the
            broker's state, and the binding was recovered from its server.
        created_at: When the platform asked for it.
        expires_at: When PostgreSQL stops accepting the password.
        renew_before: When the platform should have rotated it.
        status: Where it is in its life.
    """

    key: BindingKey
    parameters: Mapping[str, Any]
    context: Mapping[str, Any]
    login: str
    access: Access
    secret: LoginSecret | None
    created_at: datetime
    bind_resource: Mapping[str, Any] = field(default_factory=dict)
    app_guid: str | None = None
    predecessor_id: str | None = None
    expires_at: datetime | None = None
    renew_before: datetime | None = None
    status: Status = Status.CREATING
