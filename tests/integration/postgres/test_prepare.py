"""Preparing a server, and what the check says of one that is not prepared."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from broker.domain.errors import InvalidRequest, PermanentFailure, ServerUnavailable
from broker.postgres.prepare import check, prepare, prepare_for
from tests.integration.postgres.servers import OwnServer
from tests.integration.postgres.tenants import rows
from tests.support.postgres import embedded_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.postgres.tenants import Session
    from tests.support.postgres import PostgresServer


@pytest.fixture
async def role(superuser: Session) -> AsyncIterator[str]:
    """Return a name for a role and its database, which are dropped after the test."""
    name = f"prepared_{secrets.token_hex(6)}"
    yield name
    await superuser.execute(SQL("DROP DATABASE IF EXISTS {}").format(Identifier(name)))
    for statement in ("DROP OWNED BY {}", "DROP ROLE {}"):
        if await rows(superuser, "SELECT FROM pg_roles WHERE rolname = %s", name):
            await superuser.execute(SQL(statement).format(Identifier(name)))


async def test_preparing_twice_is_preparing_once(
    postgres: PostgresServer, superuser: Session, role: str
) -> None:
    """The second time changes the password and nothing else; the role is no superuser."""
    look = (
        "SELECT r.oid, d.oid, d.datacl::text, rolsuper, rolcreatedb, rolcreaterole "
        "FROM pg_roles r JOIN pg_database d ON d.datdba = r.oid WHERE rolname = %s"
    )
    found = []
    for password in ("first", "second"):
        await prepare(
            postgres.superuser_dsn(), role=role, password=password, maintenance_database=role
        )
        found.append(await rows(superuser, look, role))
        assert await check(postgres.dsn(role, password, role)) is not None
    assert found[0] == found[1]
    assert found[0][0][3:] == (False, True, True)
    with pytest.raises(ServerUnavailable):
        await check(postgres.dsn(role, "first", role))


async def test_the_check_finds_no_fault_with_a_prepared_server(postgres: PostgresServer) -> None:
    """After prepare no error is left; what remains is what the server's version cannot do."""
    findings = await check(postgres.broker_dsn())
    assert [finding for finding in findings if finding.severity == "error"] == []
    subjects = {finding.subject for finding in findings}
    assert ("temp_file_limit" in subjects) == (postgres.version == 14)
    assert ("pgbroker" in subjects) == (postgres.version < 16)


async def test_a_schema_that_came_along_in_an_upgrade(
    postgres: PostgresServer, superuser: Session, role: str
) -> None:
    """What the check says of schema public is put right by what it says to do, on any version."""
    dsn = postgres.dsn(role, "chosen", role)
    await prepare_for(dsn, superuser_dsn=postgres.superuser_dsn())
    async with postgres.superuser(role) as inside:
        await inside.execute("ALTER SCHEMA public OWNER TO postgres")
    found = {finding.subject for finding in await check(dsn)}
    assert ("template0" in found) == (postgres.version == 14)
    await prepare_for(dsn, superuser_dsn=postgres.superuser_dsn())
    assert "template0" not in {finding.subject for finding in await check(dsn)}


async def test_the_check_names_what_a_role_lacks(
    postgres: PostgresServer, superuser: Session, role: str
) -> None:
    """Each missing attribute is an error of its own with a remedy."""
    name = Identifier(role)
    await superuser.execute(SQL("CREATE ROLE {} LOGIN PASSWORD 'weak'").format(name))
    await superuser.execute(SQL("CREATE DATABASE {}").format(name))
    await superuser.execute(SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(name))
    await superuser.execute(SQL("GRANT CONNECT ON DATABASE {} TO {}").format(name, name))
    findings = await check(postgres.dsn(role, "weak", role))
    errors = [finding for finding in findings if finding.severity == "error"]
    assert findings[: len(errors)] == errors
    told = " ".join(finding.message for finding in errors)
    for missing in ("CREATEDB", "CREATEROLE", "pg_signal_backend"):
        assert missing in told
    assert all(finding.remedy for finding in findings)


async def test_the_check_warns_of_a_superuser(postgres: PostgresServer) -> None:
    """A broker that connects as a superuser is told so, and nothing else about its role."""
    findings = await check(postgres.superuser_dsn())
    assert [finding.severity for finding in findings if finding.subject == "postgres"] == [
        "warning"
    ]


async def test_the_check_finds_open_databases_and_prepared_transactions(servers: Path) -> None:
    """A database everybody may connect to, and prepared transactions, are errors by name."""
    async with embedded_postgres(
        servers / "open",
        max_prepared_transactions="5",
        authentication_timeout="60s",
        log_statement="ddl",
    ) as embedded:
        own = await OwnServer.prepare(embedded)
        async with await own.superuser() as superuser:
            await superuser.execute("CREATE DATABASE everybodys")
            await superuser.execute("ALTER ROLE pgbroker RESET log_statement")
            await superuser.execute("GRANT CONNECT ON DATABASE postgres TO PUBLIC")
        findings = {finding.subject: finding.severity for finding in await check(own.dsn)}
        assert findings["everybodys"] == "error"
        assert findings["postgres"] == "error"
        assert findings["max_prepared_transactions"] == "error"
        assert findings["authentication_timeout"] == "warning"
        assert findings["log_statement"] == "warning"

        await own.prepare(embedded)
        left = {finding.subject for finding in await check(own.dsn)}
        assert not left & {"postgres", "log_statement"}


async def test_a_superuser_is_not_taken_for_the_brokers_role(postgres: PostgresServer) -> None:
    """Prepare refuses to make the broker a superuser, and changes nothing."""
    with pytest.raises(InvalidRequest, match="'postgres' is a superuser"):
        await prepare(
            postgres.superuser_dsn(),
            role="postgres",
            password="irrelevant",
            maintenance_database="not_made",
        )
    async with await AsyncConnection.connect(postgres.superuser_dsn()) as session:
        assert not await rows(session, "SELECT FROM pg_database WHERE datname = 'not_made'")


async def test_preparing_needs_a_superuser(postgres: PostgresServer, role: str) -> None:
    """Without the rights the message has the server's own words and no secret."""
    with pytest.raises(PermanentFailure, match="42501") as refusal:
        await prepare(
            postgres.broker_dsn(), role=role, password="a-secret", maintenance_database=role
        )
    assert "a-secret" not in refusal.value.description
    assert "SCRAM" not in refusal.value.description


async def test_preparing_for_a_connection_string(postgres: PostgresServer, role: str) -> None:
    """Role, password and database are those of the broker's own connection string."""
    dsn = postgres.dsn(role, "chosen", role)
    await prepare_for(dsn, superuser_dsn=postgres.superuser_dsn())
    assert [f for f in await check(dsn) if f.severity == "error"] == []


@pytest.mark.parametrize("database", ["postgres", "template1"])
async def test_a_database_that_others_use_is_not_the_brokers(
    postgres: PostgresServer, role: str, database: str
) -> None:
    """It would be closed to everybody, the broker included; so nothing is changed at all."""
    with pytest.raises(InvalidRequest, match=f"of its own, not '{database}'"):
        await prepare_for(
            postgres.dsn(role, "chosen", database), superuser_dsn=postgres.superuser_dsn()
        )
    async with await AsyncConnection.connect(postgres.superuser_dsn()) as session:
        assert not await rows(session, "SELECT FROM pg_roles WHERE rolname = %s", role)


async def test_the_brokers_role_does_not_prepare_its_own_server(postgres: PostgresServer) -> None:
    """A superuser's connection string is asked for, and not the broker's own once more."""
    dsn = postgres.broker_dsn()
    with pytest.raises(InvalidRequest, match="which is the broker's own"):
        await prepare_for(dsn, superuser_dsn=dsn)


async def test_a_role_that_was_there_is_told(postgres: PostgresServer, role: str) -> None:
    """Its password has changed, which may concern somebody else."""
    dsn, superuser_dsn = postgres.dsn(role, "chosen", role), postgres.superuser_dsn()
    assert not (await prepare_for(dsn, superuser_dsn=superuser_dsn)).role_existed
    assert (await prepare_for(dsn, superuser_dsn=superuser_dsn)).role_existed


async def test_another_server_than_the_brokers_is_noticed(
    postgres: PostgresServer, servers: Path, role: str
) -> None:
    """Before anything is changed where the broker can connect already, afterwards elsewhere."""
    async with embedded_postgres(servers / "another") as another:
        with pytest.raises(InvalidRequest, match=r"another server.*Nothing has been changed"):
            await prepare_for(postgres.broker_dsn(), superuser_dsn=another.superuser_dsn())
        async with await AsyncConnection.connect(another.superuser_dsn()) as session:
            assert not await rows(session, "SELECT FROM pg_roles WHERE rolname = 'pgbroker'")
        with pytest.raises(PermanentFailure, match="does not lead in") as refusal:
            await prepare_for(
                postgres.dsn(role, "chosen", role), superuser_dsn=another.superuser_dsn()
            )
        assert role in refusal.value.description
        assert "chosen" not in f"{refusal.value.description}{refusal.value.cause}"


async def test_the_check_says_why_it_cannot_connect(postgres: PostgresServer) -> None:
    """A wrong password is not a dead network: the server's own words are there to be read."""
    with pytest.raises(ServerUnavailable) as refused:
        await check(postgres.dsn("pgbroker", "wrong", "pgbroker"))
    assert "pgbroker" in (refused.value.cause or "")
    assert "authentication" in (refused.value.cause or "")


async def test_a_server_without_an_encoding_is_prepared_like_any_other(
    postgres: PostgresServer, superuser: Session, role: str
) -> None:
    """Databases in SQL_ASCII, which initdb makes without a locale, are read and prepared."""
    for statement in (
        "CREATE ROLE {0}",
        "CREATE DATABASE {0} TEMPLATE template0 ENCODING SQL_ASCII LOCALE 'C' ALLOW_CONNECTIONS 0",
        "ALTER DATABASE {0} OWNER TO {0}",
        "REVOKE ALL ON DATABASE {0} FROM PUBLIC",
        "ALTER DATABASE {0} ALLOW_CONNECTIONS true",
    ):
        await superuser.execute(SQL(statement).format(Identifier(role)))
    dsn = postgres.dsn(role, "chosen", role)
    await prepare_for(dsn, superuser_dsn=postgres.superuser_dsn(role))
    assert [finding for finding in await check(dsn) if finding.severity == "error"] == []


async def test_preparing_for_an_incomplete_connection_string(postgres: PostgresServer) -> None:
    """What is missing is named, and the password that is there is not."""
    with pytest.raises(InvalidRequest, match="dbname") as refusal:
        await prepare_for(
            "host=127.0.0.1 user=someone password=hidden",
            superuser_dsn=postgres.superuser_dsn(),
        )
    assert "hidden" not in refusal.value.description


async def test_the_template_of_version_14_is_modernised(
    postgres: PostgresServer, superuser: Session
) -> None:
    """New databases have a schema public that not everybody may create in."""
    assert await rows(superuser, "SELECT has_schema_privilege('public', 'public', 'CREATE')") == [
        (False,)
    ]
