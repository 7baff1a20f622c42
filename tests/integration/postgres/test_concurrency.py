"""Many at once, and those who died or froze in the middle."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest
from psycopg import AsyncConnection

from broker.domain.database import Access
from broker.domain.errors import TemporaryFailure
from broker.postgres import hold, statements
from broker.postgres.look_statements import lock, lock_key
from tests.integration.postgres.stepwise import StepwiseEngine
from tests.integration.postgres.tenants import (
    Tenant,
    database_spec,
    is_alive,
    login_spec,
    rows,
    someone_waits_for,
    until,
)

if TYPE_CHECKING:
    from tests.integration.postgres.servers import OwnServer
    from tests.integration.postgres.tenants import Session
    from tests.support.postgres import PostgresServer

LIVES = 10

HOLD_UP_CREATE_DATABASE = "BEGIN; COMMENT ON DATABASE template0 IS 'held'"
"""Takes a lock that CREATE DATABASE needs, so that it is certain to be met at work."""

LOCK_AND_CREATE = """
import sys, psycopg
with psycopg.connect(sys.argv[1], autocommit=True, application_name="killed") as connection:
    connection.execute("SELECT pg_advisory_lock(%s)", [int(sys.argv[2])])
    connection.execute(sys.argv[3])
"""


async def test_many_lives_at_once(postgres: PostgresServer, superuser: Session) -> None:
    """Whole lives of databases in parallel, from two replicas, never collide."""
    engines = [StepwiseEngine(f"replica-{n}", postgres.broker_dsn()) for n in range(2)]
    for engine in engines:
        await engine.open()

    async def live(number: int) -> Tenant:
        tenant = Tenant(postgres, engines[number % 2], database_spec(extensions=["citext"]))
        try:
            await tenant.engine.ensure_roles(tenant.spec)
            await tenant.engine.ensure_database(tenant.spec)
            await tenant.engine.initialise_database(tenant.spec)
            accesses = (Access.WRITE, Access.WRITE, Access.READ)
            await asyncio.gather(*map(tenant.bind, accesses))
            async with tenant.logins[0].session() as session:
                await session.execute("SET ROLE NONE; CREATE TABLE t ()")
                await asyncio.gather(
                    tenant.update(add=["hstore"]), *map(tenant.unbind, tenant.logins[:2])
                )
        finally:
            await tenant.deprovision()
        return tenant

    lived = await asyncio.gather(*map(live, range(LIVES)))

    for engine in engines:
        await engine.close()
    names = [tenant.spec.name for tenant in lived]
    assert not await rows(superuser, "SELECT FROM pg_database WHERE datname = ANY (%s)", names)


async def test_two_replicas_make_one_database(
    postgres: PostgresServer, engine: StepwiseEngine
) -> None:
    """The same steps from two replicas at the same moment end as if one had made them."""
    other = StepwiseEngine("replica", postgres.broker_dsn())
    await other.open()
    spec = database_spec()
    login, _ = login_spec(spec)
    try:
        for step in ("ensure_roles", "ensure_database", "initialise_database"):
            await asyncio.gather(*(getattr(each, step)(spec) for each in (engine, other) * 3))
        await asyncio.gather(*(each.ensure_login(login) for each in (engine, other) * 3))
    finally:
        await asyncio.gather(*(each.drop_database(spec, [login.name]) for each in (engine, other)))
        await other.close()


async def test_a_cancelled_step_can_be_repeated(own_server: OwnServer) -> None:
    """A caller that gives up while the server works leaves neither a lock nor half a database."""
    spec = database_spec()
    async with (
        own_server.engine() as engine,
        await own_server.superuser() as observer,
        await own_server.superuser() as holder,
    ):
        await engine.ensure_roles(spec)
        await holder.execute(HOLD_UP_CREATE_DATABASE)
        step = asyncio.create_task(engine.ensure_database(spec))
        await until(lambda: _is_creating(observer, spec.name))
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        await holder.execute("ROLLBACK")
        await engine.ensure_database(spec)
        assert await engine.database_size(spec.name) > 0


async def test_what_a_killed_process_was_creating_is_adopted(own_server: OwnServer) -> None:
    """The server finishes a dead client's CREATE DATABASE; the successor waits and finds it."""
    spec = database_spec()
    async with (
        own_server.engine() as engine,
        await own_server.superuser() as observer,
        await own_server.superuser() as holder,
    ):
        await engine.ensure_roles(spec)
        await holder.execute(HOLD_UP_CREATE_DATABASE)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            LOCK_AND_CREATE,
            own_server.dsn,
            str(lock_key(spec.name)),
            statements.create_database(spec.name, []).as_string(),
        )
        await until(lambda: _is_creating(observer, spec.name))
        process.kill()
        await process.wait()
        successor = asyncio.create_task(engine.ensure_database(spec))
        await until(lambda: someone_waits_for(observer, spec.name))
        await holder.execute("ROLLBACK")
        await successor
        await engine.initialise_database(spec)
        assert await engine.database_size(spec.name) > 0


async def test_a_frozen_process_loses_its_lock(
    engine: StepwiseEngine, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that has not run anything for long is disconnected, and the step goes on."""
    monkeypatch.setattr(hold, "FROZEN_AFTER", 0)
    spec = database_spec()
    async with await AsyncConnection.connect(postgres.broker_dsn(), autocommit=True) as frozen:
        await frozen.execute(lock(spec.name))
        await engine.ensure_roles(spec)
        await engine.drop_database(spec, [])
        assert not await is_alive(frozen)


async def test_a_lock_that_stays_is_a_temporary_failure(
    engine: StepwiseEngine, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that is merely slow is left in peace, and the caller is told to come back."""
    monkeypatch.setattr(hold, "LOCK_ROUNDS", 1)
    spec = database_spec()
    async with await AsyncConnection.connect(postgres.broker_dsn(), autocommit=True) as slow:
        await slow.execute(lock(spec.name))
        with pytest.raises(TemporaryFailure, match="test-server"):
            await engine.ensure_roles(spec)
        await slow.execute("SELECT 1")


async def test_a_caller_that_gives_up_waiting_keeps_no_lock(
    engine: StepwiseEngine, postgres: PostgresServer, superuser: Session
) -> None:
    """Whoever is cancelled while waiting for a database's lock does not get it afterwards."""
    spec = database_spec()
    other = StepwiseEngine("replica", postgres.broker_dsn())
    await other.open()
    async with await AsyncConnection.connect(postgres.broker_dsn(), autocommit=True) as holder:
        await holder.execute(lock(spec.name))
        step = asyncio.create_task(engine.ensure_roles(spec))
        await until(lambda: someone_waits_for(superuser, spec.name))
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
    async with asyncio.timeout(4):
        await other.drop_database(spec, [])
    await other.close()


async def test_lost_connections_are_replaced(
    postgres: PostgresServer, superuser: Session, tenant: Tenant
) -> None:
    """Pooled connections that an administrator ended are not the caller's problem."""
    dsn = f"{postgres.broker_dsn()}?application_name={tenant.spec.name}"
    engine = StepwiseEngine("test-server", dsn)
    await engine.open()
    await asyncio.gather(*(engine.database_size(tenant.spec.name) for _ in range(20)))
    await superuser.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE application_name = %s AND state = 'idle'",
        [tenant.spec.name],
    )
    assert await engine.database_size(tenant.spec.name) > 0
    await engine.close()


async def _is_creating(superuser: Session, name: str) -> bool:
    return bool(
        await rows(
            superuser,
            "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE %s",
            f'CREATE DATABASE "{name}"%',
        )
    )
