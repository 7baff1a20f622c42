"""The password of the broker's own role changes while the broker works."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
import pytest

from broker.bootstrap.fleet import admin_login, stored_passwords
from broker.config.settings import ServerSettings
from broker.domain.credentials import Secret
from broker.domain.errors import ServerUnavailable, TemporaryFailure, Unprocessable
from broker.postgres.admin_login import AdminLogin
from broker.postgres.engine import PostgresEngine
from broker.postgres.prepare import prepare
from broker.postgres.rotation import AdminSession, rotating
from broker.service.rotate_admin import rotate_admin
from broker.store import KeyRing, PostgresStore
from tests.support.postgres import BROKER_ROLE, PostgresServer, running_server
from tests.support.state import migrated_template, state_dsn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from broker.store.admin_passwords import AdminPasswords

PASSWORD = "the-first-password"

__all__ = ["migrated_template", "state_dsn"]


class Died(Exception):
    """Stands for the end of the process."""


class Mortal:
    """Does what another object does, and dies before or after one of its methods.

    Args:
        inner: The real thing.
        method: Which method is the last.
        done: Whether it still does it.
    """

    def __init__(self, inner: Any, method: str, *, done: bool) -> None:
        self._inner, self._method, self._done = inner, method, done

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._inner, name)
        if name != self._method:
            return real

        async def last(*arguments: Any) -> None:
            if self._done:
                await real(*arguments)
            raise Died

        return last


@pytest.fixture(scope="module")
def changeable() -> Iterator[PostgresServer]:
    """Return a server whose broker role may be changed."""
    with running_server() as server:
        yield server


@pytest.fixture
async def server(changeable: PostgresServer) -> PostgresServer:
    """Return a server whose broker role has its first password."""
    await prepare(
        changeable.superuser_dsn(),
        role=BROKER_ROLE,
        password=PASSWORD,
        maintenance_database=BROKER_ROLE,
    )
    return changeable


@pytest.fixture
async def records(state_dsn: str) -> AsyncIterator[AdminPasswords]:
    """Return the recorded passwords."""
    store = PostgresStore(state_dsn, KeyRing([("k1", secrets.token_bytes(32))]))
    yield store.admin_passwords
    await store.close()


def _dsn(server: PostgresServer) -> str:
    """Return the connection string of the servers file."""
    return server.dsn(BROKER_ROLE, PASSWORD, BROKER_ROLE)


def _login(server: PostgresServer, records: AdminPasswords) -> AdminLogin:
    settings = ServerSettings(name="own", admin_dsn=Secret(_dsn(server)), host="127.0.0.1")
    return admin_login(settings, records)


def _engine(server: PostgresServer, records: AdminPasswords) -> PostgresEngine:
    return PostgresEngine(
        "own", _dsn(server), pool_size=2, stored_passwords=partial(stored_passwords, records, "own")
    )


async def _rotated(server: PostgresServer, records: AdminPasswords) -> Secret:
    async with rotating("own", _login(server, records)) as session:
        return await rotate_admin("own", session, records)


async def test_who_works_goes_on_and_who_comes_finds_the_new_password(
    server: PostgresServer, records: AdminPasswords
) -> None:
    """A running engine, a new one and the next rotation log in; the old password is worth nothing.

    The plaintext is neither in the state nor on the server.
    """
    running = _engine(server, records)
    await running.open()
    assert (await running.vitals()).connection_slots > 0
    first = await _rotated(server, records)
    second = await _rotated(server, records)
    fresh = _engine(server, records)
    await fresh.open()
    for engine in (running, fresh):
        assert (await engine.vitals()).connection_slots > 0
        assert await engine.database_size(BROKER_ROLE) > 0
        await engine.close()
    for old in (PASSWORD, first.reveal()):
        dsn = AdminLogin("own", _dsn(server)).with_password(Secret(old))
        with pytest.raises(psycopg.OperationalError):
            await psycopg.AsyncConnection.connect(dsn)
    (recorded,) = await records.passwords("own", BROKER_ROLE)
    assert (recorded.secret, recorded.confirmed, recorded.version) == (second, True, 2)


@pytest.mark.parametrize(
    ("dies", "done"),
    [
        ("add_password", False),
        ("add_password", True),
        ("change_password", False),
        ("change_password", True),
        ("accepts", True),
        ("confirm_password", False),
        ("confirm_password", True),
    ],
)
async def test_whoever_dies_leaves_a_broker_that_logs_in(
    server: PostgresServer, records: AdminPasswords, dies: str, done: bool
) -> None:
    """Wherever a rotation ends, everybody finds the password, and it can be rotated again."""
    await _rotated(server, records)
    running = _engine(server, records)
    await running.open()
    assert (await running.vitals()).connection_slots > 0

    with pytest.raises(Died):
        async with rotating("own", _login(server, records)) as session:
            await rotate_admin(
                "own", Mortal(session, dies, done=done), Mortal(records, dies, done=done)
            )

    fresh = _engine(server, records)
    await fresh.open()
    for engine in (running, fresh):
        assert (await engine.vitals()).connection_slots > 0
        assert await engine.database_size(BROKER_ROLE) > 0
        await engine.close()
    last = await _rotated(server, records)
    assert [known.secret for known in await records.passwords("own", BROKER_ROLE)] == [last]


async def test_two_rotations_take_turns(server: PostgresServer, records: AdminPasswords) -> None:
    """The second is told so, and nothing is recorded for it."""
    async with rotating("own", _login(server, records)):
        with pytest.raises(TemporaryFailure, match="by somebody else"):
            await _rotated(server, records)
    assert await records.passwords("own", BROKER_ROLE) == []


async def test_without_the_state_the_connection_string_has_to_do(server: PostgresServer) -> None:
    """A state database that is down keeps nobody from logging in with what is known."""
    store = PostgresStore("host=127.0.0.1 port=1", KeyRing([("k1", secrets.token_bytes(32))]))
    engine = _engine(server, store.admin_passwords)
    await engine.open()
    assert (await engine.vitals()).connection_slots > 0
    await engine.close()
    await store.close()


async def test_a_password_nobody_knows_is_an_unreachable_server(
    server: PostgresServer, records: AdminPasswords
) -> None:
    """When the operator changes the password by hand, errors are temporary until the file is."""
    await _as_superuser(server, f"ALTER ROLE {BROKER_ROLE} PASSWORD 'another'")
    engine = _engine(server, records)
    await engine.open()
    with pytest.raises(ServerUnavailable):
        await engine.vitals()
    await engine.close()


@pytest.mark.parametrize(
    ("dsn", "reason"),
    [
        ("host=/nowhere user=pgbroker", "no role or no password"),
        ("host=/nowhere password=x", "no role or no password"),
    ],
)
async def test_a_role_without_a_password_is_refused(dsn: str, reason: str) -> None:
    """Certificates, password files and the like are changed where they are kept."""
    with pytest.raises(Unprocessable, match=reason):
        async with rotating("own", AdminLogin("own", dsn)):
            pass


async def test_a_server_that_asks_for_no_password_is_refused(
    server: PostgresServer, records: AdminPasswords
) -> None:
    """Nothing would prove there that the new password works."""
    hba = server.data_directory / "pgdata" / "pg_hba.conf"
    before = hba.read_text("utf-8")
    hba.write_text(f"host all {BROKER_ROLE} 127.0.0.1/32 trust\n{before}", "utf-8")
    wrong = server.dsn(BROKER_ROLE, "wrong", BROKER_ROLE)
    await _as_superuser(server, "SELECT pg_reload_conf()")
    async with asyncio.timeout(10):
        while not await _lets_in(wrong):
            pass
    with pytest.raises(Unprocessable, match="without asking for its password"):
        await _rotated(server, records)
    assert await records.passwords("own", BROKER_ROLE) == []
    hba.write_text(before, "utf-8")
    await _as_superuser(server, "SELECT pg_reload_conf()")
    async with asyncio.timeout(10):
        while await _lets_in(wrong):
            pass


async def _as_superuser(server: PostgresServer, statement: LiteralString) -> None:
    async with await psycopg.AsyncConnection.connect(
        server.superuser_dsn(), autocommit=True
    ) as superuser:
        await superuser.execute(statement)


async def _lets_in(dsn: str) -> bool:
    try:
        await (await psycopg.AsyncConnection.connect(dsn)).close()
    except psycopg.OperationalError:
        return False
    return True


async def test_a_session_recognises_its_own_role_elsewhere(
    server: PostgresServer, records: AdminPasswords, state_dsn: str
) -> None:
    """Another way to the same server with the same role is noticed, another server is not."""
    async with rotating("own", _login(server, records)) as session:
        assert isinstance(session, AdminSession)
        assert await session.serves(_dsn(server).replace("127.0.0.1", "localhost"))
        assert not await session.serves(state_dsn)
        assert not await session.serves("host=127.0.0.1 port=1 user=pgbroker")
