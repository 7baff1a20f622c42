"""Records to store: every field filled, so that one forgotten by the store is noticed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sqlalchemy import bindparam, delete

from broker.domain.credentials import generate_login_secret
from broker.domain.database import Access
from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey, Status
from broker.domain.names import database_name, login_name, owner_name
from broker.domain.operation import (
    Caller,
    Operation,
    OperationKind,
    OriginatingIdentity,
    UpdateTarget,
)
from broker.store import rows
from broker.store.tables import bindings

if TYPE_CHECKING:
    from broker.store import PostgresStore
    from broker.store.transaction import PostgresTransaction

LEASE = timedelta(minutes=1)
EXPIRED = timedelta(seconds=-1)

DOCUMENT: dict[str, Any] = {
    "huge": 2**200,
    "negative": -(2**63) - 1,
    "floats": [0.1, 1e23, 5e-324, 1.7976931348623157e308, -0.0, 2.0],
    "text": 'ä 🐘 \u2028 " \\ \x7f',
    "awkward": "\x00 \ud800",
    "nested": {"empty": {}, "list": [None, True, False, []], "": ""},
}
"""What a JSON document may hold and a database may spoil."""


_REMOVE_BINDING = delete(bindings).where(
    bindings.c.platform == bindparam("key_platform"),
    bindings.c.instance_id == bindparam("key_instance_id"),
    bindings.c.binding_id == bindparam("key_binding_id"),
)


async def remove_binding(state: PostgresTransaction, key: BindingKey) -> None:
    """Remove the row of a binding, and nothing else."""
    await state.execute(_REMOVE_BINDING, rows.binding_key(key))


def a_key() -> InstanceKey:
    """Return the key of a new instance."""
    return InstanceKey("kubernetes", str(uuid4()))


def an_instance(
    key: InstanceKey | None = None, *, server: str = "alpha", tag_key_id: str = "k1"
) -> Instance:
    """Return an instance about to be created."""
    database = database_name()
    return Instance(
        key=key or a_key(),
        service_id="service",
        plan_id="plan",
        former_plan_ids=("older", "oldest"),
        parameters=DOCUMENT,
        context={"platform": "kubernetes", "namespace": "default"},
        organization_guid="organization",
        space_guid="space",
        maintenance_version="1.2.3",
        server=server,
        database=database,
        owner=owner_name(database),
        tag_key_id=tag_key_id,
        extensions=("pg_trgm", "uuid-ossp"),
        status=Status.CREATING,
        created_at=datetime.now(UTC),
    )


def a_binding(instance: InstanceKey, binding_id: str = "binding") -> Binding:
    """Return a binding about to be created."""
    now = datetime.now(UTC)
    return Binding(
        key=BindingKey(instance, binding_id),
        parameters={"role": "reader"},
        context=DOCUMENT,
        bind_resource={"app_guid": "app"},
        app_guid="app",
        predecessor_id="predecessor",
        login=login_name(),
        access=Access.READ,
        secret=generate_login_secret(),
        created_at=now,
        expires_at=now + timedelta(days=90),
        renew_before=now + timedelta(days=60),
        status=Status.CREATING,
    )


def an_operation(key: InstanceKey, binding_id: str | None = None) -> Operation:
    """Return an operation in progress: an update of the instance, or a bind."""
    target = UpdateTarget(
        plan_id="larger",
        parameters=DOCUMENT,
        context={"namespace": "default"},
        extensions=("pg_trgm",),
        maintenance_version="1.2.4",
    )
    identity = OriginatingIdentity("kubernetes", {"username": "jane", "uid": 7})
    return Operation(
        id=uuid4(),
        kind=OperationKind.UPDATE if binding_id is None else OperationKind.BIND,
        instance=key,
        binding_id=binding_id,
        caller=Caller(key.platform, str(uuid4()), identity),
        lease_token=uuid4(),
        started_at=datetime.now(UTC),
        target=target if binding_id is None else None,
        description="Working on it.",
    )


async def record(store: PostgresStore, *things: Instance | Binding | Operation) -> None:
    """Store new records in one transaction."""
    async with store.transaction() as state:
        for thing in things:
            match thing:
                case Instance():
                    assert await state.add_instance(thing)
                case Binding():
                    assert await state.add_binding(thing)
                case Operation():
                    await state.add_operation(thing, lease=LEASE)
