"""Databases of deleted instances on the server: aside, back, and away for good."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

from broker.domain.database import Access, Limits, Retention
from broker.domain.errors import PermanentFailure, TemporaryFailure
from broker.domain.names import retained_name
from tests.integration.postgres.tenants import Tenant, is_alive, rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.postgres.tenants import Session
    from tests.support.postgres import PostgresServer


@dataclass
class Keeper:
    """A tenant whose database is put aside and back."""

    tenant: Tenant
    superuser: Session

    @property
    def retention(self) -> Retention:
        """What it is called while it is kept."""
        spec = self.tenant.spec
        return Retention(
            spec, retained_name(spec.name), f"pgbroker:test:kept:{spec.name}", "sealed"
        )

    async def retain(self) -> None:
        """Put it aside."""
        logins = [login.name for login in self.tenant.logins]
        await self.tenant.engine.retain_database(self.retention, logins)

    async def restore(self) -> None:
        """Put it back, and let logins in."""
        await self.tenant.engine.restore_database(self.retention)
        await self.tenant.engine.reopen_database(self.tenant.spec)

    async def purge(self) -> None:
        """Drop it."""
        await self.tenant.engine.purge_database(self.retention)

    async def databases(self) -> dict[str, tuple[bool, str]]:
        """Return what databases there are, whether they let anybody in, and their tags."""
        found = await rows(
            self.superuser,
            "SELECT datname::text, datallowconn, shobj_description(oid, 'pg_database') "
            "FROM pg_database WHERE datname = ANY (%s)",
            [self.tenant.spec.name, self.retention.name],
        )
        return {name: (connectable, tag) for name, connectable, tag in found}

    async def roles(self) -> dict[str, str]:
        """Return what roles of the tenant there are, and their comments."""
        spec = self.tenant.spec
        found = await rows(
            self.superuser,
            "SELECT rolname::text, shobj_description(oid, 'pg_authid') FROM pg_roles "
            "WHERE rolname = ANY (%s)",
            [spec.name, spec.owner, *(login.name for login in self.tenant.logins)],
        )
        return dict(found)

    async def is_aside(self) -> bool:
        """Tell whether it is as it should be while it is kept."""
        kept, spec = self.retention, self.tenant.spec
        return await self.databases() == {kept.name: (False, kept.tag)} and await self.roles() == {
            spec.name: kept.tag,
            spec.owner: f"{kept.tag} sealed",
        }


@pytest.fixture
async def keeper(tenant: Tenant, superuser: Session) -> AsyncIterator[Keeper]:
    """Return a tenant to be kept; nothing of it remains after the test."""
    keeper = Keeper(tenant, superuser)
    yield keeper
    if keeper.retention.name in await keeper.databases():
        await keeper.purge()


async def test_each_move_can_be_repeated(keeper: Keeper) -> None:
    """Whoever takes over a move that is done finds it so; the data goes along all the way."""
    login = await keeper.tenant.bind()
    await login.query("CREATE TABLE t AS SELECT 1 AS a")
    for _ in range(2):
        await keeper.retain()
        assert await keeper.is_aside()
    for _ in range(2):
        await keeper.restore()
    spec = keeper.tenant.spec
    assert await keeper.databases() == {spec.name: (True, spec.tag)}
    assert await keeper.roles() == {spec.name: spec.tag, spec.owner: spec.owner_comment}
    again = await keeper.tenant.bind()
    assert await again.query("SELECT a FROM t") == [(1,)]
    await keeper.retain()
    for _ in range(2):
        await keeper.purge()
        assert await keeper.databases() == {}
        assert await keeper.roles() == {}


async def test_sessions_end_and_what_logins_own_stays(keeper: Keeper) -> None:
    """Open sessions with locks end; what a login owns in its own name is the owner role's."""
    login, reader = await keeper.tenant.bind(), await keeper.tenant.bind(Access.READ)
    await login.query("CREATE TABLE shared (); ")
    async with login.session() as session, reader.session() as reading:
        await session.execute("SET ROLE NONE")
        await session.execute("CREATE SCHEMA own")
        await session.execute("CREATE TABLE own.t AS SELECT 1 AS a")
        await session.execute("BEGIN; LOCK TABLE own.t")
        await keeper.retain()
        assert not await is_alive(session)
        assert not await is_alive(reading)
    assert await keeper.is_aside()
    await keeper.restore()
    again = await keeper.tenant.bind()
    assert await again.query("DELETE FROM own.t RETURNING a") == [(1,)]


async def test_it_wins_against_a_reconnect_storm(keeper: Keeper) -> None:
    """Clients that reconnect as fast as they can do not keep the database from being closed."""
    login = await keeper.tenant.bind()
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
        for _ in range(4):
            group.create_task(storm())
        await connected.wait()
        try:
            async with asyncio.timeout(20):
                await keeper.retain()
        finally:
            stop.set()
    assert await keeper.is_aside()


async def test_a_superusers_session_keeps_it_from_being_renamed_but_not_from_being_closed(
    keeper: Keeper, postgres: PostgresServer
) -> None:
    """The deletion says what is in the way, nobody else gets in, and repeating it succeeds."""
    login = await keeper.tenant.bind()
    async with postgres.superuser(keeper.tenant.spec.name) as visitor:
        with pytest.raises(TemporaryFailure, match="while a superuser is connected"):
            await keeper.retain()
        assert await is_alive(visitor)
        assert not await login.can_connect()
        assert await keeper.databases() == {
            keeper.tenant.spec.name: (False, keeper.tenant.spec.tag)
        }
    await keeper.retain()
    assert await keeper.is_aside()


async def test_what_its_operator_has_closed_is_kept_too(
    keeper: Keeper, stranger: Tenant, superuser: Session
) -> None:
    """A database closed by hand is put aside without its logins, and without letting them in."""
    login, foreign = await keeper.tenant.bind(), await stranger.bind()
    async with login.session() as session:
        await session.execute("SET ROLE NONE")
        await session.execute("CREATE SCHEMA own")
        grant = SQL("GRANT ALL ON SCHEMA own TO {}").format(Identifier(foreign.name))
        await session.execute(grant)
    name = keeper.tenant.spec.name
    close = SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(Identifier(name))
    await superuser.execute(close)
    await keeper.retain()
    assert await keeper.is_aside()
    await stranger.unbind(foreign)


async def test_it_keeps_no_other_tenants_role_from_being_dropped(
    keeper: Keeper, stranger: Tenant, superuser: Session
) -> None:
    """Rights granted to strangers end with the keeping: nobody could get in to revoke them."""
    login, foreign = await keeper.tenant.bind(), await stranger.bind()
    async with login.session() as session:
        await session.execute("CREATE TABLE t (a int)")
        for role in (foreign.name, stranger.spec.owner, stranger.spec.name):
            await session.execute(SQL("GRANT ALL ON t TO {}").format(Identifier(role)))
            await session.execute(
                SQL("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {}").format(
                    Identifier(role)
                )
            )
        policy = SQL("CREATE POLICY p ON t TO {} USING (true)").format(Identifier(foreign.name))
        await session.execute(policy)
    await keeper.retain()
    async with asyncio.timeout(20):
        await stranger.unbind(foreign)
        await stranger.deprovision()
    left = await rows(
        superuser,
        "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)",
        [foreign.name, stranger.spec.owner, stranger.spec.name],
    )
    assert left == []
    await keeper.restore()
    again = await keeper.tenant.bind()
    assert await again.query("INSERT INTO t VALUES (1) RETURNING a") == [(1,)]


async def test_what_is_missing_is_cleared_away(keeper: Keeper, superuser: Session) -> None:
    """A database that an operator dropped cannot be kept; its deletion succeeds all the same."""
    await keeper.tenant.bind()
    drop = SQL("DROP DATABASE {}").format(Identifier(keeper.tenant.spec.name))
    await superuser.execute(drop)
    await keeper.retain()
    assert await keeper.roles() == {}
    with pytest.raises(PermanentFailure, match="does not exist on its server any more"):
        await keeper.restore()


async def test_what_is_half_dropped_is_cleared_away(keeper: Keeper, superuser: Session) -> None:
    """What a killed DROP left (datconnlimit = -2) can only be dropped."""
    half = "UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s"
    await superuser.execute(half, [keeper.tenant.spec.name])
    await keeper.retain()
    assert await keeper.databases() == {}
    assert await keeper.roles() == {}


async def test_limits_and_extensions_are_those_of_the_new_plan(keeper: Keeper) -> None:
    """A restore under another plan sets its limits, also on paper, and adds its extensions."""
    await keeper.retain()
    tenant = keeper.tenant
    tenant.spec = replace(
        tenant.spec,
        limits=Limits(connections=3, connections_per_binding=2),
        extensions=("citext",),
        tag=f"{tenant.spec.tag}:new",
    )
    await keeper.restore()
    limits = await rows(
        keeper.superuser,
        "SELECT datconnlimit, rolconnlimit FROM pg_database, pg_roles "
        "WHERE datname = %s AND rolname = %s",
        tenant.spec.name,
        tenant.spec.owner,
    )
    assert limits == [(3, 3)]
    login = await tenant.bind()
    assert await login.query("SELECT 'A'::citext = 'a'") == [(True,)]
    assert set((await keeper.roles()).values()) >= {tenant.spec.tag}


@pytest.mark.parametrize("kind", ["DATABASE", "ROLE"])
async def test_what_is_somebody_elses_is_left_alone(
    keeper: Keeper, superuser: Session, kind: str
) -> None:
    """Another tag on the database or on a role stops the deletion before anything is changed."""
    login, spec = await keeper.tenant.bind(), keeper.tenant.spec
    comment = SQL("COMMENT ON {} {} IS {}")
    foreign = comment.format(SQL(kind), Identifier(spec.name), Literal("somebody else's"))
    await superuser.execute(foreign)
    with pytest.raises(PermanentFailure, match="is not this instance's"):
        await keeper.retain()
    assert await login.can_connect()
    await superuser.execute(comment.format(SQL(kind), Identifier(spec.name), Literal(spec.tag)))


async def test_only_what_is_kept_under_the_tag_is_purged(
    keeper: Keeper, superuser: Session
) -> None:
    """A purge neither touches an instance's database nor one that is kept for another deletion.

    The former is what an old record leads to whose data was restored: nothing is left of it.
    """
    spec = keeper.tenant.spec
    before = await keeper.databases(), await keeper.roles()
    await keeper.purge()
    assert (await keeper.databases(), await keeper.roles()) == before
    assert (await keeper.databases())[spec.name] == (True, spec.tag)
    await keeper.retain()
    other = replace(keeper.retention, tag="pgbroker:test:another")
    with pytest.raises(PermanentFailure, match="is not this instance's"):
        await keeper.tenant.engine.purge_database(other)
    assert await keeper.is_aside()
