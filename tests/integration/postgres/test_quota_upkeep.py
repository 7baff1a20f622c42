"""Storage limits in the periodic work: what else happens meanwhile, and what else fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg

from broker.domain.database import Access, Endpoint
from broker.domain.instance import Status
from broker.domain.operation import OperationKind
from broker.domain.placement import Occupancy
from broker.domain.storage import StorageState
from broker.operations.quota import QuotaUpkeep
from broker.postgres.look_statements import lock_key
from broker.providers.shared import SharedServer, SharedServers
from tests.integration.postgres.replica import CATALOG, WINDOW, Life, Replica, a_replica
from tests.integration.postgres.tenants import rows, someone_waits_for, until
from tests.support.state import migrated_template, state_dsn

if TYPE_CHECKING:
    from tests.integration.postgres.tenants import Session
    from tests.support.postgres import PostgresServer

__all__ = ["migrated_template", "state_dsn"]

WRITES = "SELECT pg_has_role(%s, %s, 'MEMBER')"


def two_servers(replica: Replica) -> SharedServers:
    """Return one server under two names."""
    servers = [
        SharedServer(name, "default", Endpoint("127.0.0.1", 1), replica.engine)
        for name in ("alpha", "beta")
    ]
    return SharedServers(servers, CATALOG)


def upkeep(replica: Replica) -> QuotaUpkeep:
    """Wire the periodic work."""
    return QuotaUpkeep(
        store=replica.store,
        records=replica.store.storage,
        servers=two_servers(replica),
        catalog=CATALOG,
        clock=lambda: datetime.now(UTC),
        named=("alpha", "beta"),
    )


async def a_life(replica: Replica, server: str = "alpha") -> Life:
    """Provision and bind what is too large for its plan from the beginning."""
    new = Life.new()
    life = replace(new, binding=replace(new.binding, access=Access.WRITE))
    await replica.carry_out(OperationKind.PROVISION, life)
    await replica.carry_out(OperationKind.BIND, life)
    ready = replace(life.instance, status=Status.READY, server=server)
    async with replica.store.transaction() as state:
        await state.save_instance(ready)
    return Life(ready, replace(life.binding, status=Status.READY))


async def test_an_update_that_has_begun_meanwhile_comes_first(
    postgres: PostgresServer, state_dsn: str, superuser: Session
) -> None:
    """Who waits for the lock changes nothing once an update of the instance is in progress."""
    async with a_replica(postgres, state_dsn) as replica:
        life = await a_life(replica)
        database, owner, login = life.instance.database, life.instance.owner, life.binding.login
        await superuser.execute("SELECT pg_advisory_lock(%s)", [lock_key(database)])
        enforcing = asyncio.create_task(upkeep(replica).run())
        await until(lambda: someone_waits_for(superuser, database))
        full = await replica.store.instance(life.instance.key)
        assert full is not None
        assert full.storage is StorageState.FULL
        work = await replica.record(OperationKind.UPDATE, replace(life, instance=full))
        await superuser.execute("SELECT pg_advisory_unlock(%s)", [lock_key(database)])
        await enforcing
        assert await rows(superuser, WRITES, login, owner) == [(True,)]
        await replica.runner.run(work, window=WINDOW, patient=False)
        updated = await replica.store.instance(life.instance.key)
        assert updated is not None
        assert updated.storage is StorageState.WITHIN
        await upkeep(replica).run()
        assert await rows(superuser, WRITES, login, owner) == [(True,)]
        await replica.clean(life)


async def test_a_server_whose_sizes_cannot_be_recorded_hinders_no_other(
    postgres: PostgresServer, state_dsn: str
) -> None:
    """The limits on the other servers are enforced, and the work does not end as failed."""
    async with a_replica(postgres, state_dsn) as replica:
        one, other = await a_life(replica), await a_life(replica, "beta")
        async with await psycopg.AsyncConnection.connect(state_dsn) as state:
            await state.execute(
                psycopg.sql.SQL(
                    "ALTER TABLE pgbroker.storage_use ADD CHECK (instance_id <> {})"
                ).format(one.instance.key.instance_id)
            )
        await upkeep(replica).run()
        assert await replica.store.storage.of(one.instance.key) is None
        enforced = await replica.store.instance(other.instance.key)
        assert enforced is not None
        assert enforced.storage is StorageState.FULL
        for life in (one, other):
            await replica.clean(life)


async def test_what_is_no_instance_takes_room_on_its_server(
    postgres: PostgresServer, state_dsn: str
) -> None:
    """A database counts where it is, also when no instance is known to be on that server."""
    async with a_replica(postgres, state_dsn) as replica:
        life = await a_life(replica)
        size = await replica.engine.database_size(life.instance.database)
        async with replica.store.transaction() as state:
            await state.remove_instance(life.instance.key)
        await upkeep(replica).run()
        servers = two_servers(replica)
        servers.remember_sizes(await replica.store.servers.measured() | {"removed": 1})
        taken = {c.name: c.use.storage for c in servers.candidates(Occupancy(), with_unknown=True)}
        assert taken.keys() == {"alpha", "beta"}
        assert min(taken.values()) >= size
        await replica.clean(life)
