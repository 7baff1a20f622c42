"""Unbind on the server: the login is gone, whatever its tenant did, and the data stays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.sql import SQL, Identifier
from structlog.testing import capture_logs

from broker.domain.database import Access, Limits
from broker.domain.errors import PermanentFailure
from broker.postgres import hold
from broker.postgres.look_statements import lock
from tests.integration.postgres.tenants import (
    is_alive,
    lend,
    rows,
    someone_waits_for,
    until,
    waits_for_lock,
)

if TYPE_CHECKING:
    from tests.integration.postgres.tenants import Login, Session, Tenant, Tenants
    from tests.support.postgres import PostgresServer


async def exists(superuser: Session, login: Login) -> bool:
    """Tell whether a login's role exists."""
    return bool(await rows(superuser, "SELECT FROM pg_roles WHERE rolname = %s", login.name))


async def test_unbind_ends_sessions_and_is_repeatable(tenant: Tenant, superuser: Session) -> None:
    """An open session of the login ends, the role is gone, and a second unbind succeeds."""
    login, other = await tenant.bind(), await tenant.bind()
    async with login.session() as session, other.session() as bystander:
        await tenant.unbind(login)
        assert not await is_alive(session)
        assert await is_alive(bystander)
    assert not await exists(superuser, login)
    assert not await login.can_connect()
    await tenant.unbind(login)


async def test_what_a_login_made_outlives_it(tenant: Tenant) -> None:
    """Everything the login owns in its own name becomes the owner role's."""
    login = await tenant.bind()
    async with login.session() as session:
        for statement in (
            "SET ROLE NONE",
            "CREATE SCHEMA own",
            "CREATE TABLE own.t (a int PRIMARY KEY, b text)",
            "INSERT INTO own.t VALUES (1, 'kept')",
            "CREATE TYPE own.mood AS ENUM ('sad')",
            "CREATE DOMAIN own.small AS int CHECK (VALUE < 9)",
            "CREATE FUNCTION own.f() RETURNS int LANGUAGE sql AS 'SELECT 42'",
            "CREATE AGGREGATE own.total(int) (sfunc = int4pl, stype = int)",
            "CREATE OPERATOR own.<+> (function = int4pl, leftarg = int, rightarg = int)",
            "CREATE COLLATION own.c (locale = 'C')",
            "CREATE TEXT SEARCH CONFIGURATION own.search (copy = simple)",
            "CREATE STATISTICS own.s ON a, b FROM own.t",
            "CREATE PUBLICATION own_publication FOR TABLE own.t",
            "SELECT lo_from_bytea(424242, 'large')",
            "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
            "ALTER ROLE CURRENT_USER SET search_path = own",
        ):
            await session.execute(statement)

    await tenant.unbind(login)

    heir = await tenant.bind()
    assert await heir.query(
        "SELECT b, own.f(), 'sad'::own.mood::text, own.total(a), 1 OPERATOR(own.<+>) 1, "
        "convert_from(lo_get(424242), 'UTF8') FROM own.t GROUP BY b"
    ) == [("kept", 42, "sad", 1, 2, "large")]
    await heir.query("DROP PUBLICATION own_publication")
    await heir.query("DROP SCHEMA own CASCADE")


async def test_objects_in_another_logins_schema_are_handed_over(tenant: Tenant) -> None:
    """The heir may own them, although it could not have created anything there."""
    login, other = await tenant.bind(), await tenant.bind()
    async with other.session() as session:
        await session.execute("SET ROLE NONE; CREATE SCHEMA theirs")
        await session.execute(
            SQL("GRANT ALL ON SCHEMA theirs TO {}").format(Identifier(login.name))
        )
    async with login.session() as session:
        await session.execute(
            "SET ROLE NONE; CREATE FUNCTION theirs.f() RETURNS int LANGUAGE sql AS 'SELECT 1'"
        )
    await tenant.unbind(login)
    assert await other.query(
        "SELECT pg_get_userbyid(proowner)::text FROM pg_proc WHERE proname = 'f'"
    ) == [(tenant.spec.owner,)]


async def test_unbind_disconnects_who_holds_a_lock_on_what_is_handed_over(
    tenant: Tenant, superuser: Session
) -> None:
    """Another binding's lock holds up an unbind for a moment only."""
    login, other = await tenant.bind(), await tenant.bind()
    async with login.session() as session:
        await session.execute("SET ROLE NONE; CREATE TABLE t (); GRANT ALL ON t TO PUBLIC")
    async with other.session() as holder:
        await holder.execute("BEGIN; LOCK TABLE t IN ACCESS SHARE MODE")
        async with asyncio.timeout(10):
            await tenant.unbind(login)
        assert not await is_alive(holder)
    assert not await exists(superuser, login)


async def test_an_open_alter_role_of_the_tenant_does_not_block(
    tenant: Tenant, superuser: Session
) -> None:
    """A transaction that has changed the login's own role is ended with its session."""
    login = await tenant.bind()
    async with login.session() as session:
        await session.execute("BEGIN; SET ROLE NONE; ALTER ROLE CURRENT_USER SET jit = off")
        async with asyncio.timeout(10):
            await tenant.unbind(login)
    assert not await exists(superuser, login)


async def test_locks_of_all_kinds_do_not_block(tenant: Tenant, superuser: Session) -> None:
    """Table locks, advisory locks, LISTEN and an open transaction end with the session."""
    login = await tenant.bind()
    async with login.session() as session:
        await session.execute(
            "LISTEN everything; CREATE TABLE t (); BEGIN; LOCK TABLE t; SELECT pg_advisory_lock(1)"
        )
        async with asyncio.timeout(10):
            await tenant.unbind(login)
    assert not await exists(superuser, login)


async def test_no_session_survives_a_reconnect_storm(tenant: Tenant, superuser: Session) -> None:
    """Clients that reconnect as fast as they can are out for good when unbind returns."""
    login = await tenant.bind()
    oid = await rows(superuser, "SELECT oid FROM pg_roles WHERE rolname = %s", login.name)
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
        await tenant.unbind(login)
        left = await rows(superuser, "SELECT FROM pg_stat_activity WHERE usesysid = %s", *oid[0])
        stop.set()
    assert left == []
    assert not await exists(superuser, login)


async def test_unbind_gets_into_a_full_database(tenants: Tenants, superuser: Session) -> None:
    """The connection limit binds the broker, too; it gets in, and the limit is as before."""
    tenant = await tenants.provision(limits=Limits(connections=2, connections_per_binding=2))
    login, other = await tenant.bind(), await tenant.bind()
    async with login.session() as session:
        await session.execute("SET ROLE NONE; CREATE TABLE t (); GRANT ALL ON t TO PUBLIC")
    async with other.session(), other.session():
        await tenant.unbind(login)
    assert not await exists(superuser, login)
    assert await rows(
        superuser, "SELECT datconnlimit FROM pg_database WHERE datname = %s", tenant.spec.name
    ) == [(2,)]


async def test_the_next_step_puts_back_a_lifted_connection_limit(
    tenant: Tenant, superuser: Session
) -> None:
    """Whoever lifted the limit and died leaves no trace after the next bind or unbind."""
    login = await tenant.bind()
    for step in (tenant.bind, lambda: tenant.unbind(login)):
        await superuser.execute(
            SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(Identifier(tenant.spec.name))
        )
        await step()
        assert await rows(
            superuser, "SELECT datconnlimit FROM pg_database WHERE datname = %s", tenant.spec.name
        ) == [(tenant.spec.limits.connections,)]


async def test_grants_from_a_stranger_do_not_keep_the_role(
    tenant: Tenant, stranger: Tenant, superuser: Session
) -> None:
    """Rights that other tenants granted in their databases are taken away there."""
    login, foreign = await tenant.bind(), await stranger.bind()
    async with foreign.session() as session:
        role = Identifier(login.name)
        for statement in (
            SQL("CREATE TABLE t (a int)"),
            SQL("GRANT ALL ON t TO {}").format(role),
            SQL("GRANT ALL ON SCHEMA public TO {}").format(role),
            SQL("ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO {}").format(role),
            SQL("CREATE POLICY p ON t TO {} USING (true)").format(role),
            SQL("SET ROLE NONE"),
            SQL("CREATE TABLE t2 (a int)"),
            SQL("GRANT SELECT (a) ON t2 TO {} WITH GRANT OPTION").format(role),
        ):
            await session.execute(statement)
    await tenant.unbind(login)
    assert not await exists(superuser, login)
    assert await foreign.query("SELECT count(*) FROM t") == [(0,)]


async def test_rights_on_a_database_itself_do_not_keep_the_role(
    tenant: Tenant, stranger: Tenant, superuser: Session
) -> None:
    """A superuser's slip is taken back where the broker can, and told to the operator elsewhere."""
    login = await tenant.bind()
    grant = SQL("GRANT CONNECT ON DATABASE {} TO {}")
    revoke = SQL("REVOKE CONNECT ON DATABASE {} FROM {}")
    for database in (tenant.spec.name, stranger.spec.name):
        await superuser.execute(grant.format(Identifier(database), Identifier(login.name)))
    await tenant.unbind(login)
    assert not await exists(superuser, login)

    login = await tenant.bind()
    postgres = (Identifier("postgres"), Identifier(login.name))
    await superuser.execute(grant.format(*postgres))
    with capture_logs() as logs:
        with pytest.raises(PermanentFailure, match="rights that the broker cannot take away"):
            await tenant.unbind(login)
        assert not await login.can_connect()
    assert "postgres" in logs[-1]["detail"]
    await superuser.execute(revoke.format(*postgres))
    await tenant.unbind(login)
    assert not await exists(superuser, login)


async def test_a_login_goes_before_a_database_that_was_dropped_by_half(
    tenant: Tenant, superuser: Session
) -> None:
    """Platforms unbind before they deprovision, whatever an operator's DROP has left."""
    login = await tenant.bind()
    await superuser.execute(
        "UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s", [tenant.spec.name]
    )
    await tenant.unbind(login)
    assert not await exists(superuser, login)


async def test_a_frozen_holder_of_a_strangers_database_loses_its_lock(
    tenant: Tenant, stranger: Tenant, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody who stands still keeps a login of another tenant from being revoked."""
    monkeypatch.setattr(hold, "FROZEN_AFTER", 0)
    login, foreign = await tenant.bind(), await stranger.bind()
    async with foreign.session() as session:
        await session.execute("CREATE TABLE t (a int)")
        await session.execute(SQL("GRANT ALL ON t TO {}").format(Identifier(login.name)))
    async with await psycopg.AsyncConnection.connect(
        postgres.broker_dsn(), autocommit=True
    ) as frozen:
        await frozen.execute(lock(stranger.spec.name))
        await tenant.unbind(login)
        assert not await is_alive(frozen)


async def test_a_strangers_database_is_not_entered_while_it_is_worked_on(
    tenant: Tenant, stranger: Tenant, superuser: Session, postgres: PostgresServer
) -> None:
    """Rights that are taken away in another database are taken away under that one's lock."""
    login, foreign = await tenant.bind(), await stranger.bind()
    async with foreign.session() as session:
        await session.execute("CREATE TABLE t (a int)")
        await session.execute(SQL("GRANT ALL ON t TO {}").format(Identifier(login.name)))
    async with await psycopg.AsyncConnection.connect(postgres.broker_dsn()) as holder:
        await holder.execute(lock(stranger.spec.name))
        unbinding = asyncio.create_task(tenant.unbind(login))
        await until(lambda: someone_waits_for(superuser, stranger.spec.name))
        assert not unbinding.done()
    await unbinding
    assert not await exists(superuser, login)


async def test_a_login_that_was_lent_to_a_stranger(
    tenant: Tenant, stranger: Tenant, superuser: Session
) -> None:
    """The borrower of a login is disconnected with the lender."""
    login, borrower = await tenant.bind(), await stranger.bind()
    await lend(login, borrower, superuser)
    async with borrower.session(tenant.spec.name) as inside:
        await inside.execute("CREATE TABLE borrowed ()")
        await tenant.unbind(login)
        assert not await is_alive(inside)
    assert not await borrower.can_connect(tenant.spec.name)
    assert not await exists(superuser, login)
    await stranger.unbind(borrower)


async def test_a_borrowers_open_alter_role_does_not_block(
    tenant: Tenant, stranger: Tenant, superuser: Session
) -> None:
    """A lock that another tenant's session holds on the role is broken."""
    login, borrower = await tenant.bind(), await stranger.bind()
    await lend(login, borrower, superuser)
    async with borrower.session() as session:
        await session.execute("BEGIN")
        await session.execute(SQL("SET ROLE {}").format(Identifier(login.name)))
        await session.execute("ALTER ROLE CURRENT_USER SET jit = off")
        async with asyncio.timeout(15):
            await tenant.unbind(login)
    assert not await exists(superuser, login)


async def test_a_login_of_another_database_is_not_dropped(
    tenant: Tenant, stranger: Tenant, superuser: Session
) -> None:
    """A role that is no login of the database named is refused and left alone."""
    login = await stranger.bind()
    with pytest.raises(PermanentFailure, match=login.name):
        await tenant.unbind(login)
    assert await exists(superuser, login)
    assert await login.can_connect()


async def test_the_group_roles_are_not_logins(tenant: Tenant) -> None:
    """The owner role, which is a member of the read-only one, is not dropped like a login of it."""
    login = await tenant.bind()
    for group in (tenant.spec.name, tenant.spec.owner):
        with pytest.raises(PermanentFailure, match=group):
            await tenant.engine.drop_login(
                group, database=tenant.spec.name, owner=tenant.spec.owner
            )
    assert await login.can_connect()


async def test_what_was_made_as_the_read_only_group_role_stays_readable(
    tenant: Tenant, superuser: Session
) -> None:
    """Objects that a tenant lets that role own stand in the way of neither unbind nor bind."""
    writer, reader = await tenant.bind(), await tenant.bind(Access.READ)
    await writer.query(
        SQL("GRANT CREATE ON SCHEMA public TO {}").format(Identifier(tenant.spec.name))
    )
    async with reader.session() as session:
        await session.execute("SET default_transaction_read_only = off")
        await session.execute(SQL("SET ROLE {}").format(Identifier(tenant.spec.name)))
        await session.execute("CREATE TABLE t AS SELECT 1 AS a")
        await session.execute("SELECT lo_from_bytea(424242, 'large')")
        await session.execute("BEGIN; ALTER ROLE CURRENT_USER SET jit = off; LOCK TABLE t")
        await tenant.unbind(reader)
    await tenant.unbind(writer)
    assert not await exists(superuser, reader)
    assert not await exists(superuser, writer)
    heir = await tenant.bind(Access.READ)
    assert await heir.query("SELECT a, convert_from(lo_get(424242), 'UTF8') FROM t") == [
        (1, "large")
    ]


async def test_unbind_after_the_database_has_gone(tenant: Tenant, superuser: Session) -> None:
    """A database that somebody dropped by hand does not keep its logins."""
    login, reader = await tenant.bind(), await tenant.bind(Access.READ)
    await superuser.execute(
        SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(tenant.spec.name))
    )
    await tenant.unbind(login)
    await tenant.unbind(reader)
    assert not await exists(superuser, login)
    assert not await exists(superuser, reader)


async def test_two_unbinds_of_one_login_at_once(tenant: Tenant, superuser: Session) -> None:
    """The second waits for the first and finds nothing left to do."""
    login = await tenant.bind()
    async with login.session() as session:
        await session.execute("SET ROLE NONE; CREATE TABLE t ()")
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(tenant.unbind(login))
    assert not await exists(superuser, login)


async def test_a_tenant_waiting_for_a_lock_is_ended_too(tenant: Tenant, superuser: Session) -> None:
    """A session that is itself stuck behind another binding's lock does not hold up unbind."""
    login, other = await tenant.bind(), await tenant.bind()
    async with other.session() as holder, login.session() as waiter:
        await holder.execute("CREATE TABLE t ()")
        await holder.execute("BEGIN; LOCK TABLE t")
        waiting = asyncio.create_task(waiter.execute("SELECT FROM t"))
        await until(lambda: waits_for_lock(superuser, waiter))
        await tenant.unbind(login)
        with pytest.raises(psycopg.OperationalError):
            await waiting
        assert await is_alive(holder)
