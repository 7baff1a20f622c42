"""A server that is down, full, or that was restarted."""

from __future__ import annotations

import asyncio
import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import errors
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from broker.domain.database import DatabaseChange, Limits
from broker.domain.errors import ServerUnavailable
from broker.embedded import StopMode
from broker.postgres.connections import connect_once
from tests.integration.postgres.servers import PASSWORD, OwnServer
from tests.integration.postgres.tenants import database_spec, is_alive, login_spec
from tests.support.postgres import embedded_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from pathlib import Path

    from tests.integration.postgres.stepwise import StepwiseEngine
    from tests.integration.postgres.tenants import Session
    from tests.support.postgres import PostgresServer

CREATE_MANY_VIEWS = """
DO $$
BEGIN
    FOR n IN 1..4000 LOOP
        EXECUTE format('CREATE VIEW %I AS SELECT 1 AS a', 'V ' || n);
        IF n % 20 = 0 THEN COMMIT; END IF;
    END LOOP;
END $$
"""

SLOTS = 12
"""Small enough for one tenant to take all of them."""


@pytest.fixture
async def small_server(servers: Path, postgres: PostgresServer) -> AsyncIterator[OwnServer]:
    """Return a server with few connection slots, some of them reserved where that exists."""
    settings = {"max_connections": str(SLOTS), "max_wal_senders": "0"}
    if postgres.version > 15:
        settings["reserved_connections"] = "3"
    async with embedded_postgres(servers / "small", **settings) as embedded:
        yield await OwnServer.prepare(embedded)


def every_step(engine: StepwiseEngine) -> dict[str, Awaitable[object]]:
    """Call every method of an engine."""
    spec = database_spec()
    login, _ = login_spec(spec)
    return {
        "ensure_roles": engine.ensure_roles(spec),
        "ensure_database": engine.ensure_database(spec),
        "initialise_database": engine.initialise_database(spec),
        "change_database": engine.change_database(DatabaseChange(spec, (), (), ())),
        "ensure_login": engine.ensure_login(login),
        "drop_login": engine.drop_login(login.name, database=spec.name, owner=spec.owner),
        "drop_database": engine.drop_database(spec, [login.name]),
        "database_size": engine.database_size(spec.name),
    }


async def fill(dsn: str) -> list[Session]:
    """Open sessions until the server has no room for another."""
    sessions: list[Session] = []
    while True:
        try:
            sessions.append(await psycopg.AsyncConnection.connect(dsn, autocommit=True))
        except psycopg.OperationalError:
            return sessions


async def test_a_stopped_server_is_unavailable_until_it_is_back(own_server: OwnServer) -> None:
    """Every step fails as temporary, names the server and not its DSN; later all works."""
    spec = database_spec()
    async with own_server.engine() as engine:
        await asyncio.gather(*(engine.ensure_roles(database_spec()) for _ in range(4)))
        await own_server.embedded.stop(StopMode.IMMEDIATE)

        steps = every_step(engine)
        async with asyncio.timeout(30):
            results = await asyncio.gather(*steps.values(), return_exceptions=True)
        for name, result in zip(steps, results, strict=True):
            assert isinstance(result, ServerUnavailable), (name, result)
            assert "'own-server'" in result.description
            assert not re.search(f"{PASSWORD}|127.0.0.1|pgbroker", result.description)

        await own_server.embedded.start()
        for step in (engine.ensure_roles, engine.ensure_database, engine.initialise_database):
            await step(spec)
        assert await engine.database_size(spec.name) > 0


@pytest.mark.parametrize("steps", [1, 2, 3])
async def test_a_crash_takes_nothing_that_was_finished(steps: int, servers: Path) -> None:
    """A server that dies after any step has all of a finished database, or lets it be finished."""
    spec = database_spec()
    login, password = login_spec(spec)
    durable = {"synchronous_commit": "on", "wal_writer_delay": "10s"}
    async with embedded_postgres(servers / "durable", **durable) as embedded:
        own = await OwnServer.prepare(embedded)
        async with own.engine() as engine:
            provision = (engine.ensure_roles, engine.ensure_database, engine.initialise_database)
            for step in provision[:steps]:
                await step(spec)
            async with await own.superuser() as session:
                await session.execute("SET synchronous_commit = off; CREATE ROLE not_durable")
            await embedded.stop(StopMode.KILL)
            await embedded.start()
            async with await own.superuser() as session:
                lost = await session.execute("SELECT to_regrole('not_durable') IS NULL")
                assert await lost.fetchone() == (True,)
            if steps < len(provision):
                for step in provision:
                    await step(spec)
            assert await engine.deviations(spec) == []
            await engine.ensure_login(login)
            async with await psycopg.AsyncConnection.connect(own.login_dsn(login, password)) as use:
                await use.execute("CREATE TABLE t (a int)")


async def test_opening_does_not_need_the_server(own_server: OwnServer) -> None:
    """A broker starts while a server is down, and uses it once it is there."""
    await own_server.embedded.stop()
    async with asyncio.timeout(20), own_server.engine() as engine:
        with pytest.raises(ServerUnavailable):
            await engine.ensure_roles(database_spec())
        await own_server.embedded.start()
        await engine.ensure_roles(database_spec())


async def test_a_server_that_falls_silent_is_given_up(own_server: OwnServer) -> None:
    """The kernel ends connections to a host that is gone, soon, unless the operator says when."""
    for given, expected in ((None, "10000"), ("5000", "5000")):
        changed = {} if given is None else {"tcp_user_timeout": given}
        async with await connect_once(make_conninfo(own_server.dsn, **changed)) as connection:
            parameters = connection.info.get_parameters()
            assert parameters["tcp_user_timeout"] == expected
            assert int(parameters["keepalives_idle"]) <= 30


async def test_a_wrong_password_is_not_shown(own_server: OwnServer) -> None:
    """A server that does not let the broker in is unavailable, and the error tells no secret."""
    wrong = OwnServer(own_server.embedded, own_server.dsn.replace(PASSWORD, "another-password"))
    async with wrong.engine() as engine:
        with pytest.raises(ServerUnavailable) as refusal:
            await engine.ensure_roles(database_spec())
    assert "another-password" not in f"{refusal.value} {refusal.value.__cause__} {engine!r}"


async def test_a_login_that_owns_more_than_the_lock_table_holds(servers: Path) -> None:
    """Unbind hands over any number of objects, a part at a time when it has to be."""
    settings = {"max_connections": "16", "max_locks_per_transaction": "10"}
    spec = database_spec()
    login, password = login_spec(spec)
    async with embedded_postgres(servers / "few-locks", **settings) as embedded:
        own = await OwnServer.prepare(embedded)
        async with own.engine() as engine:
            for step in (engine.ensure_roles, engine.ensure_database, engine.initialise_database):
                await step(spec)
            await engine.ensure_login(login)
            async with await psycopg.AsyncConnection.connect(
                own.login_dsn(login, password), autocommit=True
            ) as session:
                await session.execute("SET ROLE NONE")
                await session.execute(CREATE_MANY_VIEWS)
                await session.execute("CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY)")
                with pytest.raises(errors.OutOfMemory):
                    await session.execute(
                        SQL("REASSIGN OWNED BY {} TO {}").format(
                            Identifier(login.name), Identifier(spec.owner)
                        )
                    )
            await engine.drop_login(login.name, database=spec.name, owner=spec.owner)
            heir, password = login_spec(spec)
            await engine.ensure_login(heir)
            async with await psycopg.AsyncConnection.connect(
                own.login_dsn(heir, password), autocommit=True
            ) as session:
                await session.execute('INSERT INTO t DEFAULT VALUES; DROP VIEW "V 4000"')


async def test_a_server_full_of_tenants(small_server: OwnServer) -> None:
    """From 16 on the broker has connections in reserve; before, it waits for one to be free."""
    limits = Limits(connections=2 * SLOTS, connections_per_binding=2 * SLOTS)
    spec = database_spec(limits=limits)
    login, password = login_spec(spec)
    async with small_server.engine() as engine:
        for step in (engine.ensure_roles, engine.ensure_database, engine.initialise_database):
            await step(spec)
        await engine.ensure_login(login)

    embedded = small_server.embedded
    dsn = small_server.login_dsn(login, password)
    async with small_server.engine() as engine:
        async with AsyncExitStack() as stack:
            sessions = await fill(dsn)
            for session in sessions:
                stack.push_async_callback(session.close)
            if embedded.version > 15:
                another = database_spec()
                await engine.ensure_roles(another)
                await engine.ensure_database(another)
                await engine.initialise_database(another)
                await engine.drop_login(login.name, database=spec.name, owner=spec.owner)
                assert not any([await is_alive(session) for session in sessions])
                return
            with pytest.raises(ServerUnavailable, match="no connection to spare"):
                await engine.drop_login(login.name, database=spec.name, owner=spec.owner)
        await engine.drop_login(login.name, database=spec.name, owner=spec.owner)
