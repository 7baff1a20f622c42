"""A full database: read-only to its tenant, whatever the tenant has prepared, and writable again.

Each attack logs in as the tenant and tries to write.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import errors
from psycopg.sql import SQL, Identifier

from broker.domain.database import Access
from tests.integration.postgres.quota_attacks import PREPARED, TRIES
from tests.integration.postgres.tenants import is_alive, rows

if TYPE_CHECKING:
    from psycopg.sql import Composed

    from tests.integration.postgres.tenants import Login, Session, Tenant

WRITABLE = "SET default_transaction_read_only = off"
CONTENTS = """
    SELECT oid::regclass::text,
        query_to_xml(format('SELECT * FROM %s', oid::regclass), true, true, '')::text
    FROM pg_class
    WHERE relkind IN ('r', 'v', 'm', 'p')
    AND relnamespace::regnamespace::text !~ '^pg_|^information'
    ORDER BY 1
"""
"""Every table and view of a tenant's, with everything in it."""


async def grow(login: Login) -> None:
    """Write as an application does."""
    await login.query("INSERT INTO t VALUES ('more')")


async def count(login: Login) -> int:
    """Return the number of rows in the table."""
    ((found,),) = await login.query("SELECT count(*) FROM t")
    return int(found)


@pytest.fixture
async def writer(tenant: Tenant) -> Login:
    """Return a read-write login of a tenant with a table of one row."""
    login = await tenant.bind()
    await login.query("CREATE TABLE t (a text)")
    await grow(login)
    return login


async def test_a_full_database_is_read_only(tenant: Tenant, writer: Login) -> None:
    """Every login can read everything, none can write, and the error says what is the matter."""
    reader = await tenant.bind(Access.READ)
    await tenant.forbid_writes()
    with pytest.raises(errors.ReadOnlySqlTransaction):
        await grow(writer)
    assert await count(writer) == await count(reader) == 1


async def test_open_sessions_end(tenant: Tenant, writer: Login) -> None:
    """A session that acts as the owner does not outlive the right to; it can come back to read."""
    async with writer.session() as session:
        await tenant.forbid_writes()
        assert not await is_alive(session)
    async with writer.session() as session:
        await tenant.forbid_writes()
        assert await is_alive(session)


async def test_writes_come_back(tenant: Tenant, writer: Login) -> None:
    """When the database is full no longer, logins write as the owner, and readers still read."""
    reader = await tenant.bind(Access.READ)
    await tenant.forbid_writes()
    async with writer.session() as session:
        await tenant.allow_writes()
        assert not await is_alive(session)
    await grow(writer)
    await writer.query("CREATE TABLE later ()")
    ((owner,),) = await writer.query("SELECT tableowner FROM pg_tables WHERE tablename = 'later'")
    assert owner == tenant.spec.owner
    assert await reader.query("SELECT * FROM later") == []
    async with reader.session() as session:
        await session.execute(WRITABLE)
        with pytest.raises(errors.InsufficientPrivilege):
            await session.execute("INSERT INTO t VALUES ('x')")


async def test_it_can_be_repeated(tenant: Tenant, writer: Login) -> None:
    """Both directions look first: what is as it should be stays so, its sessions included."""
    await tenant.forbid_writes()
    await tenant.forbid_writes()
    await tenant.allow_writes()
    async with writer.session() as session:
        await tenant.allow_writes()
        assert await is_alive(session)
    await grow(writer)


def attacks(tenant: Tenant, login: Login) -> list[Composed]:
    """List what a login may try, to write again."""
    owner, group, me = (
        Identifier(name) for name in (tenant.spec.owner, tenant.spec.name, login.name)
    )
    write = SQL("INSERT INTO t VALUES ('evil')")
    return [
        SQL("{}").format(write),
        SQL("UPDATE t SET a = repeat(a, 2)").format(),
        SQL("DELETE FROM t").format(),
        SQL("TRUNCATE t").format(),
        SQL("DROP TABLE t").format(),
        SQL("CREATE TABLE evil ()").format(),
        SQL("CREATE TEMPORARY TABLE evil ()").format(),
        SQL("CREATE SCHEMA evil").format(),
        SQL("SELECT * INTO evil FROM t").format(),
        SQL("SET ROLE {}; {}").format(owner, write),
        SQL("RESET ROLE; {}").format(write),
        SQL("SET SESSION AUTHORIZATION {}").format(owner),
        SQL("GRANT {} TO {}").format(owner, me),
        SQL("GRANT {} TO {}").format(owner, group),
        SQL("GRANT INSERT ON t TO {}; {}").format(me, write),
        SQL("ALTER TABLE t OWNER TO {}").format(me),
        SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} GRANT ALL ON TABLES TO PUBLIC").format(owner),
        SQL("ALTER ROLE {} IN DATABASE {} SET role = {}; SET ROLE {}").format(
            me, group, owner, owner
        ),
        SQL("REASSIGN OWNED BY {} TO {}").format(owner, me),
        SQL(
            "CREATE FUNCTION evil() RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT 1'"
        ).format(),
        SQL("ALTER TABLE t ADD COLUMN evil text DEFAULT 'evil'").format(),
        SQL("VACUUM FULL t").format(),
        SQL("COPY t FROM PROGRAM 'true'").format(),
    ]


@pytest.mark.parametrize("access", list(Access))
async def test_nothing_a_login_can_say_lets_it_write(
    tenant: Tenant, writer: Login, access: Access
) -> None:
    """Whatever a tenant tries in a full database, it is refused and nothing is written."""
    login = writer if access is Access.WRITE else await tenant.bind(access)
    await tenant.forbid_writes()
    succeeded = []
    for attack in attacks(tenant, login):
        async with login.session() as session:
            await session.execute(WRITABLE)
            try:
                await session.execute(attack)
            except errors.InsufficientPrivilege:
                continue
            else:
                succeeded.append(attack.as_string())
    # VACUUM passes over what is not one's own, with a warning.
    assert succeeded == ["VACUUM FULL t"]
    assert await count(login) == 1


_INSERT = "INSERT INTO t VALUES ('evil');"


@pytest.mark.parametrize("prepared", list(PREPARED))
async def test_nothing_a_tenant_has_prepared_lets_it_write(
    tenant: Tenant, writer: Login, prepared: str
) -> None:
    """Grants, ownership and SECURITY DEFINER routines made before are of no use any more."""
    reader = await tenant.bind(Access.READ)
    names = {
        "writer": f'"{writer.name}"',
        "reader": f'"{reader.name}"',
        "group": f'"{tenant.spec.name}"',
    }
    for login, statement in zip((writer, reader), PREPARED[prepared], strict=True):
        async with login.session() as session:
            await session.execute(WRITABLE)
            await session.execute(statement.format(**names).encode())
    await tenant.forbid_writes()
    before = await writer.query(CONTENTS)
    for login in (writer, reader):
        for attempt in TRIES:
            async with login.session() as session:
                await session.execute(WRITABLE)
                with suppress(psycopg.Error):
                    await session.execute(attempt.encode())
    assert await writer.query(CONTENTS) == before
    await tenant.allow_writes()
    await grow(writer)


async def test_a_routine_writes_again_afterwards(tenant: Tenant, writer: Login) -> None:
    """A SECURITY DEFINER routine reads while the database is full, and works as before later."""
    await writer.query(
        "CREATE FUNCTION read() RETURNS bigint LANGUAGE sql SECURITY DEFINER SET work_mem = '1MB' "
        "AS 'SELECT count(*) FROM t'"
    )
    await writer.query(
        "CREATE FUNCTION add() RETURNS void LANGUAGE sql SECURITY DEFINER "
        "AS $$ INSERT INTO t VALUES ('more') $$"
    )
    await tenant.forbid_writes()
    assert await writer.query("SELECT read()") == [(1,)]
    with pytest.raises(errors.ReadOnlySqlTransaction):
        await writer.query("SELECT add()")
    await tenant.allow_writes()
    await writer.query("SELECT add()")
    assert await writer.query("SELECT read()") == [(2,)]
    configured = await writer.query("SELECT proname, proconfig FROM pg_proc WHERE prosecdef")
    assert dict(configured) == {"read": ["work_mem=1MB"], "add": None}


async def test_a_bind_that_came_in_between_is_put_right(tenant: Tenant, writer: Login) -> None:
    """A read-write login made in a full database is read-only after the next measurement."""
    await tenant.forbid_writes()
    late = await tenant.bind()
    await grow(late)
    await tenant.forbid_writes()
    with pytest.raises(errors.ReadOnlySqlTransaction):
        await grow(late)


async def test_a_full_database_is_unbound_and_deprovisioned(
    tenant: Tenant, writer: Login, superuser: Session
) -> None:
    """Logins and the database go as they do from any other."""
    other = await tenant.bind()
    await tenant.forbid_writes()
    await tenant.unbind(other)
    assert not await other.can_connect()
    await tenant.deprovision()
    assert not await writer.can_connect()
    left = await rows(
        superuser, "SELECT rolname FROM pg_roles WHERE rolname LIKE %s", f"{tenant.spec.name}%"
    )
    assert left == []


async def test_an_operators_role_is_left_alone(
    operators_role: str, tenant: Tenant, writer: Login, superuser: Session
) -> None:
    """A role that a superuser let act as the owner keeps that, to help a tenant clean up."""
    await superuser.execute(
        SQL("GRANT {} TO {}").format(Identifier(tenant.spec.owner), Identifier(operators_role))
    )
    await tenant.forbid_writes()
    member = await rows(
        superuser, "SELECT pg_has_role(%s, %s, 'MEMBER')", operators_role, tenant.spec.owner
    )
    assert member == [(True,)]


async def test_locks_of_a_tenant_stop_nothing(tenant: Tenant, writer: Login) -> None:
    """An open transaction that holds locks is ended, not waited for."""
    async with writer.session() as session:
        await session.execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        await tenant.forbid_writes()
    with pytest.raises(errors.ReadOnlySqlTransaction):
        await grow(writer)


async def test_all_databases_are_measured_at_once(tenant: Tenant, stranger: Tenant) -> None:
    """One question tells what every database of the broker's occupies."""
    sizes = await tenant.engine.sizes()
    assert sizes[tenant.spec.name] == await tenant.engine.database_size(tenant.spec.name)
    assert sizes[stranger.spec.name] > 1_000_000
    assert "template1" not in sizes
