"""Deprovision on the server: nothing remains, whatever the tenant did."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from broker.domain.database import Access
from broker.domain.errors import PermanentFailure, TemporaryFailure
from tests.integration.postgres.tenants import database_spec, is_alive, lend, rows

if TYPE_CHECKING:
    from tests.integration.postgres.stepwise import StepwiseEngine
    from tests.integration.postgres.tenants import Session, Tenant
    from tests.support.postgres import PostgresServer


async def remains(superuser: Session, tenant: Tenant) -> list[str]:
    """List what is left of a tenant in the catalogs all databases share."""
    names = [tenant.spec.name, tenant.spec.owner, *(login.name for login in tenant.logins)]
    found = await rows(
        superuser,
        "SELECT datname::text FROM pg_database WHERE datname = ANY (%s) "
        "UNION ALL SELECT rolname::text FROM pg_roles WHERE rolname = ANY (%s)",
        names,
        names,
    )
    return [name for (name,) in found]


async def test_nothing_remains_and_it_is_repeatable(tenant: Tenant, superuser: Session) -> None:
    """Database, group roles and logins are gone, open sessions too, and again is fine."""
    login, reader = await tenant.bind(), await tenant.bind(Access.READ)
    async with login.session() as session, reader.session() as reading:
        await session.execute("CREATE TABLE t (); BEGIN; LOCK TABLE t")
        await reading.execute("SET default_transaction_read_only = off")
        await reading.execute(SQL("SET ROLE {}").format(Identifier(tenant.spec.name)))
        await reading.execute("BEGIN; ALTER ROLE CURRENT_USER SET jit = off; SELECT lo_create(0)")
        await tenant.deprovision()
        assert not await is_alive(session)
        assert not await is_alive(reading)
    assert await remains(superuser, tenant) == []
    await tenant.deprovision()


async def test_a_strangers_login_is_not_dropped_along(
    tenant: Tenant, stranger: Tenant, superuser: Session
) -> None:
    """A login of another database is refused by name before anything is dropped."""
    login, foreign = await tenant.bind(), await stranger.bind()
    with pytest.raises(PermanentFailure, match=foreign.name):
        await tenant.engine.drop_database(tenant.spec, [login.name, foreign.name])
    assert await login.can_connect()
    assert await foreign.can_connect()


async def test_what_never_was_is_gone(engine: StepwiseEngine) -> None:
    """Dropping what was never created succeeds: that is what orphan mitigation asks for."""
    await engine.drop_database(database_spec(), [])
    await engine.drop_login("unobody", database="dnothing", owner="dnothing_owner")


@pytest.mark.parametrize("steps", [1, 2])
async def test_half_made_is_gone(engine: StepwiseEngine, superuser: Session, steps: int) -> None:
    """A provision that stopped after any step leaves nothing once it is dropped."""
    spec = database_spec()
    for step in (engine.ensure_roles, engine.ensure_database)[:steps]:
        await step(spec)
    await engine.drop_database(spec, [])
    names = [spec.name, spec.owner]
    assert not await rows(superuser, "SELECT FROM pg_roles WHERE rolname = ANY (%s)", names)
    assert not await rows(superuser, "SELECT FROM pg_database WHERE datname = ANY (%s)", names)


async def test_deprovision_wins_against_a_reconnect_storm(
    tenant: Tenant, superuser: Session
) -> None:
    """Clients that reconnect as fast as they can do not keep the database."""
    login = await tenant.bind()
    stop, connected = asyncio.Event(), asyncio.Event()

    async def storm() -> None:
        while not stop.is_set():
            try:
                async with login.session() as session:
                    connected.set()
                    await session.execute("SELECT pg_sleep(60)")
            except psycopg.OperationalError:
                continue

    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(storm())
        await connected.wait()
        try:
            async with asyncio.timeout(20):
                await tenant.deprovision()
        finally:
            stop.set()
    assert await remains(superuser, tenant) == []


async def test_grants_in_strangers_databases_do_not_keep_roles(
    tenant: Tenant, stranger: Tenant, superuser: Session
) -> None:
    """Rights granted both ways between tenants survive neither's deprovision."""
    mine, theirs = await tenant.bind(), await stranger.bind()
    for login, others in (
        (theirs, (tenant.spec.name, tenant.spec.owner, mine.name)),
        (mine, (stranger.spec.name, stranger.spec.owner, theirs.name)),
    ):
        async with login.session() as session:
            await session.execute("CREATE TABLE t (a int)")
            for other in others:
                await session.execute(SQL("GRANT ALL ON t TO {}").format(Identifier(other)))
                await session.execute(
                    SQL("GRANT ALL ON SCHEMA public TO {}").format(Identifier(other))
                )
                await session.execute(
                    SQL("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {}").format(
                        Identifier(other)
                    )
                )
    await tenant.deprovision()
    assert await remains(superuser, tenant) == []
    assert await theirs.query("SELECT count(*) FROM t") == [(0,)]
    await stranger.deprovision()
    assert await remains(superuser, stranger) == []


async def test_what_a_guest_made_belongs_to_the_host_afterwards(
    tenant: Tenant, stranger: Tenant, superuser: Session
) -> None:
    """Objects a departing tenant owns in another's database become that one's."""
    guest, host = await tenant.bind(), await stranger.bind()
    await lend(host, guest, superuser)
    async with guest.session(stranger.spec.name) as session:
        await session.execute("CREATE TABLE made_by_guest AS SELECT 1 AS a")
    await tenant.deprovision()
    assert await remains(superuser, tenant) == []
    assert await host.query("SELECT * FROM made_by_guest") == [(1,)]


async def test_a_half_dropped_database_is_dropped(tenant: Tenant, superuser: Session) -> None:
    """A DROP that was cut short (datconnlimit = -2) is finished by the next one."""
    await superuser.execute(
        "UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s", [tenant.spec.name]
    )
    await tenant.deprovision()
    assert await remains(superuser, tenant) == []


async def test_deprovision_while_a_superuser_is_inside(
    tenant: Tenant, superuser: Session, postgres: PostgresServer
) -> None:
    """A superuser's session cannot be ended by the broker: it says so, and succeeds later."""
    async with postgres.superuser(tenant.spec.name):
        with pytest.raises(TemporaryFailure, match="superuser is connected"):
            await tenant.deprovision()
    await tenant.deprovision()
    assert await remains(superuser, tenant) == []
