"""The state database goes away and comes back."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict

from broker.domain.errors import StateUnavailable
from broker.embedded import EmbeddedPostgres, StopMode
from broker.store import KeyRing, PostgresStore, migrate
from tests.integration.store.observe import query
from tests.integration.store.records import LEASE, a_key, an_instance, an_operation, record
from tests.integration.store.test_lost_commit import Fault, through_proxy
from tests.support.postgres import TEST_SETTINGS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import LiteralString

END_OTHER_SESSIONS = """
    SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""

IN_PROGRESS = """
    SELECT backend_xid::text::bigint FROM pg_stat_activity WHERE backend_xid IS NOT NULL
"""
TAKE_AN_ID = "SELECT pg_current_xact_id()::text::bigint"

# A server that is killed shall have what it acknowledged.
# What nobody has waited for shall not be written all the same.
SETTINGS = {**TEST_SETTINGS, "synchronous_commit": "on", "wal_writer_delay": "10s"}


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a directory that PostgreSQL can enter, as whichever user it runs."""
    directory = Path(tempfile.mkdtemp(prefix="pgbroker-outage-"))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
async def server(directory: Path) -> AsyncIterator[EmbeddedPostgres]:
    """Return a running server of this test's own, to be stopped and started."""
    server = EmbeddedPostgres(directory / "server", settings=SETTINGS)
    async with server:
        yield server


async def test_a_stopped_database_is_a_quick_temporary_failure(server: EmbeddedPostgres) -> None:
    """Down: every call fails at once, as temporary, without the DSN. Up again: all works."""
    dsn = server.superuser_dsn()
    await migrate(dsn)
    store = PostgresStore(dsn, KeyRing([("k", secrets.token_bytes(32))]))
    instance = an_instance()
    await record(store, instance)

    await server.stop(StopMode.IMMEDIATE)
    started = time.monotonic()
    for _ in range(3):
        with pytest.raises(StateUnavailable) as caught:
            await store.check()
        assert "postgresql://" not in str(caught.value)
        with pytest.raises(StateUnavailable):
            await store.instance(instance.key)
        with pytest.raises(StateUnavailable):
            await record(store, an_instance())
        with pytest.raises(StateUnavailable):
            await migrate(dsn)
    assert time.monotonic() - started < 3

    await server.start()
    await store.check()
    assert await store.instance(instance.key) == instance
    async with store.transaction() as state:
        occupancy = await state.occupancy(exclusively=False)
    assert [(placed.server, placed.databases) for placed in occupancy.placed] == [("alpha", 1)]
    await store.close()


async def test_a_database_lost_within_a_transaction_takes_it_back(
    server: EmbeddedPostgres,
) -> None:
    """What was not committed when the server died is not there when it is back."""
    dsn = server.superuser_dsn()
    await migrate(dsn)
    store = PostgresStore(dsn, KeyRing([("k", secrets.token_bytes(32))]))
    instance = an_instance()

    async def interrupted() -> None:
        async with store.transaction() as state:
            assert await state.add_instance(instance)
            await server.stop(StopMode.KILL)

    with pytest.raises(StateUnavailable):
        await interrupted()
    await server.start()
    assert await store.instance(instance.key) is None
    await record(store, instance)
    await store.close()


async def test_closed_connections_go_unnoticed(store: PostgresStore, state_dsn: str) -> None:
    """Connections the server ended while they were idle are replaced without an error."""
    instance = an_instance()
    await record(store, instance)
    await asyncio.gather(*(store.check() for _ in range(10)))

    await query(state_dsn, END_OTHER_SESSIONS)
    assert await store.instance(instance.key) == instance
    await asyncio.gather(*(store.check() for _ in range(10)))

    await query(state_dsn, END_OTHER_SESSIONS)
    async with store.transaction() as state:
        assert await state.instance(instance.key) == instance
        await state.add_operation(operation := an_operation(instance.key), lease=LEASE)
    assert await store.last_operation(instance.key) == operation


async def test_a_connection_closed_later_takes_the_transaction_back(
    store: PostgresStore, state_dsn: str
) -> None:
    """A transaction that has begun is never continued on another connection."""
    one, two = an_instance(), an_instance()

    async def interrupted() -> None:
        async with store.transaction() as state:
            assert await state.add_instance(one)
            await query(state_dsn, END_OTHER_SESSIONS)
            await state.add_instance(two)

    with pytest.raises(StateUnavailable):
        await interrupted()
    assert await store.instance(one.key) is None
    assert await store.instance(two.key) is None


@pytest.mark.parametrize("fault", ["SET default_transaction_read_only = on", "CONNECTION LIMIT 0"])
async def test_a_database_that_takes_no_writes_is_unavailable(
    state_dsn: str, keys: KeyRing, fault: LiteralString
) -> None:
    """A standby, and a server that is full, are outages like any other."""
    await alter(state_dsn, fault)
    store = PostgresStore(state_dsn, keys)
    with pytest.raises(StateUnavailable, match="nothing has been changed"):
        await record(store, an_instance())
    await store.close()


async def test_a_database_that_takes_writes_again_is_used_again(
    state_dsn: str, keys: KeyRing
) -> None:
    """Sessions of the time when it took none are not kept: they would never take any."""
    store = PostgresStore(state_dsn, keys)
    await alter(state_dsn, "SET default_transaction_read_only = on")
    for instance in (an_instance(), an_instance()):
        with pytest.raises(StateUnavailable):
            await record(store, instance)
        with pytest.raises(StateUnavailable):
            await store.record_new(an_operation(instance.key), instance, lease=LEASE)
    await alter(state_dsn, "RESET default_transaction_read_only")
    instance = an_instance()
    await record(store, instance)
    assert await store.record_new(an_operation(other := a_key()), an_instance(other), lease=LEASE)
    await store.close()


async def alter(dsn: str, change: LiteralString) -> None:
    """Change a setting of a database."""
    name = str(conninfo_to_dict(dsn)["dbname"])
    change_it = sql.SQL("ALTER DATABASE {} ").format(sql.Identifier(name)) + sql.SQL(change)
    # Its sessions of before may be read-only.
    options = "-c default_transaction_read_only=off"
    async with await AsyncConnection.connect(dsn, autocommit=True, options=options) as connection:
        await connection.execute(change_it)


@pytest.mark.parametrize(
    "broken",
    ["postgresql://nobody:canary@127.0.0.1:1/none", "host=127.0.0.1 port=1 password=canary"],
)
async def test_an_unreachable_database_is_told_without_the_password(
    keys: KeyRing, broken: str
) -> None:
    """Both forms of a DSN are understood, and no message of the chain has the password."""
    store = PostgresStore(broken, keys)
    with pytest.raises(StateUnavailable) as caught:
        await store.instance(a_key())
    error: BaseException | None = caught.value
    while error is not None:
        assert "canary" not in f"{error!s} {error!r}"
        error = error.__cause__
    await store.close()


async def test_a_commit_that_a_crash_has_undone_is_not_taken_for_another(
    server: EmbeddedPostgres,
) -> None:
    """After a crash another transaction has the same id, and commits: it is not ours."""
    await migrate(server.superuser_dsn())
    instance = an_instance()
    operation = an_operation(instance.key)

    async def crash() -> None:
        async with await AsyncConnection.connect(server.superuser_dsn(), autocommit=True) as other:
            (ours,) = await (await other.execute(IN_PROGRESS)).fetchone() or (0,)
        assert ours
        await server.stop(StopMode.IMMEDIATE)
        await server.start()
        async with await AsyncConnection.connect(server.superuser_dsn(), autocommit=True) as other:
            for _ in range(50):
                (theirs,) = await (await other.execute(TAKE_AN_ID)).fetchone() or (0,)
                if theirs == ours:
                    return
        raise AssertionError(f"nobody got the id {ours}, but the last one {theirs}")

    async with through_proxy(server.superuser_dsn()) as (proxy, dsn):
        store = PostgresStore(dsn, KeyRing([("k", secrets.token_bytes(32))]))
        await store.check()
        await record(store)
        proxy.fault, proxy.meanwhile = Fault.REQUEST_LOST, crash
        with pytest.raises(StateUnavailable, match="nothing has been changed"):
            await record(store, instance, operation)
        assert await store.operation(operation.id) is None
        await store.close()
