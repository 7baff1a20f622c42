"""A replica of the broker without its HTTP side: state, engine, and what carries operations out."""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from broker.domain.catalog import Catalog, Offering
from broker.domain.credentials import generate_login_secret
from broker.domain.database import Endpoint, Limits
from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey, Status
from broker.domain.names import database_name, login_name, owner_name
from broker.domain.operation import Operation, OperationKind, OperationState, UpdateTarget, Work
from broker.operations.runner import OperationRunner
from broker.operations.steps import withdraw
from broker.postgres.engine import PostgresEngine
from broker.providers.shared import SharedServer, SharedServers
from broker.store import EncryptedTags, KeyRing, PostgresStore
from tests.integration.postgres.stepwise import confirmed
from tests.unit.domain import examples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import PostgresServer

WINDOW = timedelta(seconds=30)

RETRY_FOR = timedelta(seconds=20)

LEASE = timedelta(minutes=1)

BIG = replace(examples.BIG, limits=Limits(connections=50, connections_per_binding=30))

CATALOG = Catalog(
    (Offering(examples.INSTANCE.service_id, "databases", "Some.", (examples.PLAN, BIG)),)
)


class WatchedStore(PostgresStore):
    """A store that tells whether it has said that a lease is lost."""

    said_lost = False

    async def extend_lease(self, operation: Operation, *, lease: timedelta) -> bool:
        """Keep an operation ours for longer."""
        held = await super().extend_lease(operation, lease=lease)
        self.said_lost = not held
        return held


@dataclass(frozen=True)
class Replica:
    """One replica.

    Attributes:
        store: The state.
        engine: Of the only server.
        runner: Carries operations out.
        tags: Of its databases and roles.
    """

    store: WatchedStore
    engine: PostgresEngine
    runner: OperationRunner
    tags: EncryptedTags

    async def record(self, kind: OperationKind, life: Life, *, lease: timedelta = LEASE) -> Work:
        """Record an operation and what it makes, as the verbs do."""
        operation = Operation(
            id=uuid4(),
            kind=kind,
            instance=life.instance.key,
            binding_id=(
                life.binding.key.binding_id
                if kind in (OperationKind.BIND, OperationKind.UNBIND)
                else None
            ),
            caller=examples.CALLER,
            lease_token=uuid4(),
            started_at=datetime.now(UTC),
            target=(
                UpdateTarget(BIG.id, {}, {}, ("citext",), None)
                if kind is OperationKind.UPDATE
                else None
            ),
        )
        async with self.store.transaction() as state:
            if kind is OperationKind.PROVISION:
                await state.add_instance(life.instance)
            if kind is OperationKind.BIND:
                await state.add_binding(life.binding)
            bindings = (
                (life.binding,)
                if operation.binding_id is not None
                else tuple(await state.bindings(life.instance.key))
            )
            await state.add_operation(operation, lease=lease)
        return Work(operation, life.instance, bindings)

    async def ended(self, operation: Operation) -> bool:
        """Tell whether an operation is over."""
        latest = await self.store.operation(operation.id)
        return latest is not None and latest.state is not OperationState.IN_PROGRESS

    async def carry_out(self, kind: OperationKind, life: Life) -> None:
        """Record an operation and see it through."""
        await self.runner.run(await self.record(kind, life), window=WINDOW, patient=False)

    async def clean(self, life: Life) -> None:
        """Take away from the server whatever there is, without a record."""
        for step in withdraw(life.instance, [life.binding], self.tags):
            await self.engine.exclusively(life.instance.database, step.run, confirm=confirmed)


@dataclass(frozen=True)
class Life:
    """An instance and a binding of it, which may or may not have been made."""

    instance: Instance
    binding: Binding

    @classmethod
    def new(cls) -> Life:
        """Think of an instance and a binding."""
        key, database = InstanceKey("kubernetes", str(uuid4())), database_name()
        return cls(
            replace(
                examples.INSTANCE,
                key=key,
                database=database,
                owner=owner_name(database),
                parameters={},
                extensions=(),
                status=Status.CREATING,
            ),
            replace(
                examples.BINDING,
                key=BindingKey(key, "binding"),
                login=login_name(),
                secret=generate_login_secret(),
                status=Status.CREATING,
            ),
        )


@asynccontextmanager
async def a_replica(
    postgres: PostgresServer, state_dsn: str, *, lease: timedelta = LEASE
) -> AsyncIterator[Replica]:
    """Run a replica."""
    keys = KeyRing([(key_id, secrets.token_bytes(32)) for key_id in ("k1", "k2")])
    tags = EncryptedTags(keys)
    store = WatchedStore(state_dsn, keys)
    engine = PostgresEngine("alpha", postgres.broker_dsn())
    server = SharedServer("alpha", "default", Endpoint(postgres.host, postgres.port), engine)
    runner = OperationRunner(
        store=store,
        servers=SharedServers([server], CATALOG),
        catalog=CATALOG,
        tags=tags,
        lease=lease,
        retry_for=RETRY_FOR,
        go_on_for=RETRY_FOR,
    )
    await engine.open()
    yield Replica(store, engine, runner, tags)
    await runner.drain(within=WINDOW)
    await engine.close()
    await store.close()
