"""Bind on the server: what a login can do, and what it shares with the others."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import errors
from psycopg.sql import SQL, Identifier

from broker.domain.credentials import generate_login_secret
from broker.domain.database import Access, Limits
from broker.domain.errors import PermanentFailure
from tests.integration.postgres.tenants import LIMITS, Login, database_spec, login_spec, rows

if TYPE_CHECKING:
    from tests.integration.postgres.stepwise import StepwiseEngine
    from tests.integration.postgres.tenants import Session, Tenant, Tenants
    from tests.support.postgres import PostgresServer


async def test_what_one_login_creates_the_next_can_use_and_change(tenant: Tenant) -> None:
    """Logins act as the owner role, so one application's tables are the next one's as well."""
    one, other = await tenant.bind(), await tenant.bind()
    await one.query("CREATE TABLE t (a int)")
    await other.query("INSERT INTO t VALUES (1)")
    await other.query("ALTER TABLE t ADD COLUMN b int")
    assert await one.query("SELECT * FROM t") == [(1, None)]


async def test_discard_all_keeps_the_role(tenant: Tenant) -> None:
    """A pooler's DISCARD ALL does not take the owner role away."""
    login = await tenant.bind()
    async with login.session() as session:
        await session.execute("DISCARD ALL")
        assert await rows(session, "SELECT current_user::text") == [(tenant.spec.owner,)]


async def test_binding_again_brings_the_new_password(tenant: Tenant) -> None:
    """The password of the specification is the one that works, and the old one does not."""
    login = await tenant.bind()
    secret = generate_login_secret()
    renewed = Login(replace(login.spec, verifier=secret.verifier), secret.password, login.server)

    await tenant.engine.ensure_login(renewed.spec)

    assert await renewed.can_connect()
    assert not await login.can_connect()


async def test_binding_again_brings_what_is_there_to_the_specification(
    tenant: Tenant, superuser: Session
) -> None:
    """Limit and expiry follow the specification, and the role stays the same."""
    login = await tenant.bind()
    until = datetime(2040, 1, 1, tzinfo=UTC)
    look = "SELECT rolconnlimit, rolvaliduntil, rolcanlogin FROM pg_roles WHERE rolname = %s"

    await superuser.execute(f'ALTER ROLE "{login.name}" NOLOGIN'.encode())
    await tenant.engine.ensure_login(
        replace(
            login.spec,
            valid_until=until,
            limits=replace(LIMITS, connections_per_binding=3),
        )
    )

    assert await rows(superuser, look, login.name) == [(3, until, True)]


async def test_an_expired_login_cannot_connect(tenant: Tenant) -> None:
    """PostgreSQL itself stops accepting the password."""
    login = await tenant.bind(valid_until=datetime.now(UTC) - timedelta(seconds=1))
    assert not await login.can_connect()


async def test_a_login_has_its_own_connection_limit(tenants: Tenants) -> None:
    """One binding cannot take the connections of another."""
    tenant = await tenants.provision(limits=Limits(connections=5, connections_per_binding=1))
    login, other = await tenant.bind(), await tenant.bind()
    async with login.session():
        assert not await login.can_connect()
        assert await other.can_connect()


async def test_the_role_of_another_binding_is_not_adopted(tenant: Tenant, stranger: Tenant) -> None:
    """A role with another comment is refused by name, and keeps its password."""
    login = await tenant.bind()
    with pytest.raises(PermanentFailure, match=login.name):
        await stranger.engine.ensure_login(
            replace(
                login.spec,
                database=stranger.spec.name,
                owner=stranger.spec.owner,
                tag="another binding",
                verifier=generate_login_secret().verifier,
            )
        )
    assert await login.can_connect()


async def test_binding_to_a_missing_database_is_an_alarm(
    engine: StepwiseEngine, superuser: Session
) -> None:
    """A database that should be there is never created empty."""
    spec = database_spec()
    login, _ = login_spec(spec)
    with pytest.raises(PermanentFailure, match=spec.name):
        await engine.ensure_login(login)
    assert not await rows(superuser, "SELECT FROM pg_roles WHERE rolname = %s", login.name)


@pytest.mark.parametrize("as_group", [False, True], ids=["as login role", "as group role"])
async def test_a_reader_reads_everything_and_writes_nothing(tenant: Tenant, as_group: bool) -> None:
    """Tables, views, sequences and schemas that come later are readable, and only that."""
    writer, reader = await tenant.bind(), await tenant.bind(Access.READ)
    await writer.query("CREATE SCHEMA s")
    await writer.query("CREATE TABLE s.t AS SELECT 1 AS a")
    await writer.query("CREATE VIEW s.v AS SELECT a + 1 AS a FROM s.t")
    await writer.query("CREATE SEQUENCE s.n")

    assert await reader.query(
        "SELECT (SELECT a FROM s.t), (SELECT a FROM s.v), (SELECT last_value FROM s.n)"
    ) == [(1, 2, 1)]
    for statement in (
        b"INSERT INTO s.t VALUES (2)",
        b"UPDATE s.t SET a = 2",
        b"DELETE FROM s.t",
        b"TRUNCATE s.t",
        b"DROP TABLE s.t",
        b"SELECT nextval('s.n')",
        b"CREATE TABLE public.mine ()",
        b"CREATE TABLE s.mine ()",
        b"CREATE SCHEMA mine",
        b"CREATE TEMPORARY TABLE mine ()",
        f'SET ROLE "{tenant.spec.owner}"'.encode(),
    ):
        async with reader.session() as session:
            await session.execute("SET default_transaction_read_only = off")
            if as_group:
                await session.execute(SQL("SET ROLE {}").format(Identifier(tenant.spec.name)))
            with pytest.raises(errors.InsufficientPrivilege):
                await session.execute(statement)


async def test_a_reader_starts_read_only(tenant: Tenant) -> None:
    """A mistaken write says that the session is read-only before it says anything else."""
    reader = await tenant.bind(Access.READ)
    with pytest.raises(errors.ReadOnlySqlTransaction):
        await reader.query("CREATE TABLE t ()")


async def test_a_new_reader_reads_what_was_hidden_from_readers(tenant: Tenant) -> None:
    """Objects made outside the owner role, and grants taken back, are repaired at bind."""
    writer = await tenant.bind()
    async with writer.session() as session:
        await session.execute("CREATE TABLE revoked AS SELECT 1 AS a")
        await session.execute(
            SQL("REVOKE ALL ON revoked FROM {}").format(Identifier(tenant.spec.name))
        )
        await session.execute(
            "SET ROLE NONE; CREATE SCHEMA own; CREATE TABLE own.t AS SELECT 2 AS a; "
            "CREATE SEQUENCE own.n"
        )
    reader = await tenant.bind(Access.READ)
    assert await reader.query(
        "SELECT (SELECT a FROM revoked), (SELECT a FROM own.t), (SELECT last_value FROM own.n)"
    ) == [(1, 2, 1)]


async def test_a_login_moves_between_writing_and_reading(tenant: Tenant) -> None:
    """The access of the specification is the access, both ways."""
    login = await tenant.bind()
    await login.query("CREATE TABLE t (a int)")

    await tenant.engine.ensure_login(replace(login.spec, access=Access.READ))
    async with login.session() as session:
        await session.execute("SET default_transaction_read_only = off")
        assert await rows(session, "SELECT * FROM t") == []
        with pytest.raises(errors.InsufficientPrivilege):
            await session.execute("INSERT INTO t VALUES (1)")

    await tenant.engine.ensure_login(login.spec)
    await login.query("INSERT INTO t VALUES (1)")


async def test_the_server_never_sees_the_password(
    tenant: Tenant, superuser: Session, postgres: PostgresServer
) -> None:
    """What the server stores is the verifier, and it is the one that was sent."""
    login = await tenant.bind()
    assert login.spec.verifier is not None
    assert await rows(
        superuser, "SELECT rolpassword FROM pg_authid WHERE rolname = %s", login.name
    ) == [(login.spec.verifier.reveal(),)]
    with pytest.raises(psycopg.OperationalError):
        await psycopg.AsyncConnection.connect(
            postgres.dsn(login.name, login.spec.verifier.reveal(), tenant.spec.name)
        )
