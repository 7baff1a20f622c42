"""The periodic work of ``pgbroker serve``: each chore is done by the running program.

Its times are cron expressions, pinned by ``tests/unit/test_upkeep.py``. Here each chore is put into
the queue as the scheduler does, and what it is for is waited for.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
import pytest
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued
from psycopg.sql import SQL, Identifier

from broker.operations.jobs import UPKEEP
from broker.store.queue import QUEUE_SCHEMA
from tests.support.catalog import SERVICE
from tests.support.faults_waiting import until
from tests.support.platform import Platform, can_connect, new_id, rows
from tests.support.process import PASSWORD, USERNAME, run_program, running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import LiteralString

    from tests.support.postgres import PostgresServer

PLAIN, TIGHT, KEPT, BRIEF, READY = (
    f"0bee700{number}-{name}"
    for number, name in enumerate(("plain", "tight", "kept", "brief", "ready"))
)
CATALOG = f"""\
offerings:
  - id: {SERVICE}
    name: postgres
    description: Databases that need upkeep.
    plans:
      - {{id: {PLAIN}, name: plain, description: Plain., limits: {{connections: 5}}}}
      - id: {TIGHT}
        name: tight
        description: Soon full.
        limits: {{connections: 5, storage: 16MiB}}
      - id: {KEPT}
        name: kept
        description: Kept for a second after its deletion.
        deleted_retention: 1s
        limits: {{connections: 5}}
      - id: {BRIEF}
        name: brief
        description: Its credentials end soon.
        bindings: {{time_to_live: 2s}}
        limits: {{connections: 5}}
      - id: {READY}
        name: ready
        description: One is kept ready.
        warm: 1
        limits: {{connections: 5}}
"""
FILL = "INSERT INTO t SELECT generate_series(1, 400000)"


@dataclass(slots=True)
class World:
    """A running broker, and everything past it.

    Attributes:
        platform: Uses it.
        state_dsn: Its state database.
        postgres: Holds the tenants.
        environ: Of its commands.
    """

    platform: Platform
    state_dsn: str
    postgres: PostgresServer
    environ: dict[str, str]

    def state(self, statement: LiteralString, *values: str) -> int:
        """Do something to the state, or ask it; return how many rows that concerns."""
        with psycopg.connect(self.state_dsn, autocommit=True) as state:
            return state.execute(statement, values).rowcount

    async def do(self, chore: str) -> None:
        """Let a chore be due now."""

        async def configure(connection: psycopg.AsyncConnection) -> None:
            await connection.execute(SQL("SET search_path = {}").format(Identifier(QUEUE_SCHEMA)))
            await connection.commit()

        connector = PsycopgConnector(conninfo=self.state_dsn, configure=configure)
        async with App(connector=connector).open_async() as app:
            job = app.configure_task(
                chore, allow_unknown=True, queue=UPKEEP, queueing_lock=chore, lock=chore
            )
            with suppress(AlreadyEnqueued):
                await job.defer_async(timestamp=0)


@pytest.fixture
def world(
    broker_environment: dict[str, str], postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> Iterator[World]:
    """Return a running broker with a plan for each chore."""
    catalog_file = tmp_path / "catalog.yaml"
    catalog_file.write_text(CATALOG, "utf-8")
    environ = broker_environment | {
        "PGBROKER_CATALOG_FILE": str(catalog_file),
        "PGBROKER_KEEP_EXPIRED_SECONDS": "0",
    }
    with (
        running_broker(environ, tmp_path / "broker.log") as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        yield World(platform, state_dsn, postgres, environ)


async def test_operations_are_forgotten(world: World) -> None:
    """What is over for longer than configured cannot be asked about any more."""
    world.platform.provisioned(PLAIN)
    world.state("UPDATE pgbroker.operations SET finished_at = finished_at - interval '8 days'")
    await world.do("forget_operations")
    await until(lambda: world.state("SELECT FROM pgbroker.operations") == 0, what="it is forgotten")


async def test_kept_databases_are_dropped_on_time(world: World) -> None:
    """When its time has passed, the data of a deleted instance goes, and its record."""
    _, _, credentials = world.platform.bound(KEPT)
    instance = world.platform.provisioned(KEPT)
    assert world.platform.deprovision(instance, KEPT).status_code == 200
    assert world.state("SELECT FROM pgbroker.deleted_instances") == 1

    async def purged() -> bool:
        await world.do("purge_deleted_instances")
        return world.state("SELECT FROM pgbroker.deleted_instances") == 0

    await until(purged, what="it is purged")
    assert can_connect(credentials)


async def test_storage_limits_are_enforced(world: World) -> None:
    """A database that has grown over its limit becomes read-only."""
    instance, _, credentials = world.platform.bound(TIGHT)
    rows(credentials, "CREATE TABLE t (a int)")
    rows(credentials, FILL)

    async def full() -> bool:
        await world.do("enforce_storage_limits")
        fetched = world.platform.fetch(instance).json()
        attributes = fetched.get("metadata", {}).get("attributes", {})
        return bool(attributes.get("read_only"))

    await until(full, what="it is read-only")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        rows(credentials, FILL)


async def test_the_stock_is_kept(world: World) -> None:
    """What an operator has released is made again."""
    ready: LiteralString = "SELECT FROM pgbroker.warm_databases WHERE state = 'ready'"
    await until(lambda: world.state(ready) == 1, what="the stock is filled")
    released = run_program("warm", "release", environ=world.environ)
    assert released.returncode == 0, released.stderr

    async def filled() -> bool:
        await world.do("keep_warm_stock")
        return world.state(ready) == 1

    await until(filled, what="the stock is filled again")


async def test_servers_are_reconciled(world: World) -> None:
    """What somebody has changed past the broker is put right."""
    _, _, credentials = world.platform.bound(PLAIN)
    name = Identifier(credentials["database"])
    with psycopg.connect(world.postgres.superuser_dsn(), autocommit=True) as server:
        server.execute(SQL("ALTER DATABASE {} CONNECTION LIMIT 77").format(name))
    await world.do("reconcile")
    look: LiteralString = "SELECT datconnlimit FROM pg_database WHERE datname = current_database()"
    await until(lambda: rows(credentials, look) == [(5,)], what="it is repaired")


async def test_servers_get_a_first_look(world: World) -> None:
    """A server that this state has never been compared with is, without an hour's wait."""
    looked_at: LiteralString = "SELECT FROM pgbroker.reconciled"
    await until(lambda: world.state(looked_at) == 1, what="the look at the start")
    world.state("DELETE FROM pgbroker.reconciled")
    await world.do("first_look")
    await until(lambda: world.state(looked_at) == 1, what="the next look")


async def test_sessions_of_expired_logins_end(world: World) -> None:
    """Who connected in time is disconnected once the credentials have ended."""
    instance = world.platform.provisioned(BRIEF)
    credentials = world.platform.credentials(instance, new_id(), BRIEF)
    with (
        psycopg.connect(credentials["uri"], autocommit=True) as tenant,
        # Apart, so that what ends it is seen by a statement that is under way.
        ThreadPoolExecutor(1) as pool,
    ):
        sleeping = pool.submit(tenant.execute, "SELECT pg_sleep(60)")

        async def ended() -> bool:
            await world.do("end_expired_sessions")
            return sleeping.done()

        await until(ended, what="it is disconnected")
        assert isinstance(sleeping.exception(), psycopg.OperationalError)


async def test_expired_bindings_are_removed(world: World) -> None:
    """Some time after its credentials have ended, a binding goes with its login."""
    instance = world.platform.provisioned(BRIEF)
    world.platform.credentials(instance, new_id(), BRIEF)

    async def removed() -> bool:
        await world.do("remove_expired_bindings")
        return world.state("SELECT FROM pgbroker.bindings") == 0

    await until(removed, what="the binding is gone")
