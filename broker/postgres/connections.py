"""Connections to one server: a pool on the maintenance database, short ones to tenants'.

Belongs here: how a connection is made, and which connection holds the lock of a database.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow, class_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from broker.domain.names import owner_name
from broker.postgres import look_statements as looks
from broker.postgres import revocation_statements, server_statements, statements
from broker.postgres.admin_login import AdminLogin, StoredPasswords
from broker.postgres.errors import closed, unavailable
from broker.postgres.facts import Facts
from broker.postgres.hold import TENANT_WORK_TIMEOUT, Hold, lock_and_look

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

CONNECT_TIMEOUT = 5
"""Seconds until a server that does not answer counts as unreachable."""

SILENCE = {
    "tcp_user_timeout": "10000",
    "keepalives_idle": "30",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
"""A server that vanished without a word is given up after ten seconds, or 45 when we are waiting
for an answer of it, not after two hours."""

POOL_WAIT = 3.0
"""Seconds to wait for a pooled connection before asking whether the server is there at all."""

BUSY_POOL_WAIT = 60.0
"""Seconds to wait for one when it is: others are working."""

MAINTENANCE_STATEMENT_TIMEOUT = 600
"""Seconds a statement may take on the maintenance database; CREATE DATABASE copies files."""

TENANT_STATEMENT_TIMEOUT = 30
"""Seconds a statement may take on a tenant's database."""

IDLE_TIMEOUT = 15
"""Seconds without a statement after which the server ends a session outside the pool.

What a frozen process has open on a tenant's database ends by itself, as a rule before its lock can
be taken from it (``hold.FROZEN_AFTER``): ``TENANT_STATEMENT_TIMEOUT`` for each statement, and this
after the last. A message of several statements may end later, beside the next holder: as a whole or
not at all, and a DROP ends its session.
"""

_PREPARED = (*looks.PREPARED, *revocation_statements.PREPARED)


class Connections:
    """All connections to one server.

    Args:
        server: Its configured name.
        dsn: libpq connection string of the broker's role, to its maintenance database. Must not
            lead through a pooler in transaction mode: locks belong to sessions.
        pool_size: How many databases can be worked on at once.
        stored_passwords: Reads what the role's password was changed to, see ``AdminLogin``.
    """

    def __init__(
        self,
        server: str,
        dsn: str,
        *,
        pool_size: int,
        stored_passwords: StoredPasswords | None = None,
    ) -> None:
        self._server = server
        self._login = AdminLogin(server, dsn, stored_passwords)
        self._facts: Facts | None = None
        self._releasing: set[asyncio.Task[None]] = set()
        self._pool: AsyncConnectionPool[AsyncConnection[TupleRow]] = AsyncConnectionPool(
            _conninfo(
                dsn,
                statement_timeout=f"{MAINTENANCE_STATEMENT_TIMEOUT}s",
                plan_cache_mode="force_generic_plan",
            ),
            connection_class=self._login.sessions(),
            # What is worth it is prepared at once (``Prepared``).
            kwargs={"autocommit": True, "prepare_threshold": None},
            min_size=0,
            max_size=pool_size,
            open=False,
            configure=self._probe,
            timeout=POOL_WAIT,
            reconnect_timeout=POOL_WAIT,
            name=f"server-{server}",
        )

    async def open(self) -> None:
        """Get ready. Does not connect: a server that is down must not keep the broker from it."""
        await self._pool.open(wait=False)

    async def close(self) -> None:
        """Close all idle connections; those in use close when they are given back."""
        if self._releasing:
            await asyncio.wait(self._releasing, timeout=POOL_WAIT)
        await self._pool.close()

    async def discard_lost(self) -> None:
        """Replace the pooled connections that a restarted server has closed."""
        await self._pool.check()

    @asynccontextmanager
    async def maintenance(self) -> AsyncIterator[AsyncConnection]:
        """Lend a connection to the maintenance database, in autocommit mode.

        Raises:
            ServerUnavailable: The server cannot be reached.
        """
        connection = await self._take()
        try:
            yield connection
        finally:
            await self._pool.putconn(connection)

    @asynccontextmanager
    async def hold(self, database: str) -> AsyncIterator[Hold]:
        """Keep every other session of the broker, of any replica, away from one database.

        The lock belongs to a session of the server, so it outlives a client that was killed
        until the server has finished that client's last statement. Only from then on do the
        catalogs say what was done, which is why nobody looks at them without it.

        Raises:
            ServerUnavailable: The server cannot be reached.
            psycopg.errors.LockNotAvailable: Another session is at work there.
        """
        connection = await self._take()
        try:
            found = await lock_and_look(connection, database)
            yield Hold(database, connection, self.facts, found)
        except asyncio.CancelledError:
            # Nobody knows whether the lock was just granted; it must not stay in the pool.
            await connection.close()
            raise
        finally:
            # Whoever wants the lock next waits for it; what was done under it need not.
            release = asyncio.create_task(self._release(connection), name="release")
            self._releasing.add(release)
            release.add_done_callback(self._releasing.discard)

    async def _release(self, connection: AsyncConnection) -> None:
        """Give back the lock, and the connection to the pool; one that is broken is replaced."""
        try:
            if not connection.closed:
                await statements.run(connection, looks.UNLOCK)
        except psycopg.Error:
            await connection.close()
        finally:
            await self._pool.putconn(connection)

    @property
    def facts(self) -> Facts:
        """What is known about the server; ask only while holding a connection to it."""
        if self._facts is None:
            raise AssertionError("every connection is probed before it is lent")
        return self._facts

    async def connect(self, database: str | None = None) -> AsyncConnection:
        """Make a connection outside the pool.

        Args:
            database: ``None`` is the maintenance database.

        Raises:
            psycopg.OperationalError: The server is down, or will not let us in.
        """
        return await connect_once(self._login.dsn, database, login=self._login)

    @asynccontextmanager
    async def tenant(
        self, hold: Hold, database: str | None = None
    ) -> AsyncIterator[AsyncConnection]:
        """Open a short connection to a tenant's database, also when it is full.

        A database's connection limit binds the broker, too. It is lifted for the moment of the
        connection; the number to put back is on the owner role (``record_limit``), so that
        whoever comes after a crash can do it.

        Args:
            hold: The lock of a database.
            database: Another database than that one.

        Raises:
            TemporaryFailure: The database accepts no connections.
            TimeoutError: The work took more than ``TENANT_WORK_TIMEOUT`` seconds.
            psycopg.OperationalError: The lock is lost.
        """
        name = database or hold.database
        async with AsyncExitStack() as opened:
            try:
                connection = await opened.enter_async_context(await self.connect(name))
            except psycopg.OperationalError as exc:
                limit = await _liftable_limit(hold, name)
                if limit is None:
                    raise closed(name) from exc
                await statements.run(hold.connection, statements.connection_limit(name, -1))
                try:
                    connection = await opened.enter_async_context(await self.connect(name))
                finally:
                    await statements.run(hold.connection, statements.connection_limit(name, limit))
            async with asyncio.timeout(TENANT_WORK_TIMEOUT):
                # Whoever has lost the lock, and with it the connection, does nothing here either.
                await hold.connection.execute(looks.PING)
                yield connection

    async def _take(self) -> AsyncConnection:
        try:
            return await self._pool.getconn()
        except PoolTimeout:
            pass
        try:
            await (await self.connect()).close()
            return await self._pool.getconn(BUSY_POOL_WAIT)
        except (psycopg.OperationalError, PoolTimeout) as exc:
            raise unavailable(self._server) from exc

    async def _probe(self, connection: AsyncConnection) -> None:
        version = connection.info.server_version // 10_000
        async with connection.cursor(row_factory=class_row(Facts)) as cursor:
            await cursor.execute(server_statements.facts(version))
            self._facts = await cursor.fetchone()
        await statements.run(connection, *(statement.preparation for statement in _PREPARED))


async def connect_once(
    dsn: str,
    dbname: str | None = None,
    *,
    statement_timeout: int = TENANT_STATEMENT_TIMEOUT,
    login: AdminLogin | None = None,
) -> AsyncConnection:
    """Make one connection, in autocommit mode, with the settings every session of ours has.

    Args:
        dsn: libpq connection string.
        dbname: Another database than the one it names.
        statement_timeout: Seconds.
        login: Whose connection string it is, if its password may have changed.

    Raises:
        psycopg.OperationalError: The server is down, or will not let us in.
    """
    idle = f"{IDLE_TIMEOUT}s"
    conninfo = _conninfo(
        dsn,
        statement_timeout=f"{statement_timeout}s",
        idle_session_timeout=idle,
        idle_in_transaction_session_timeout=idle,
    )

    async def attempt(changed: Mapping[str, Any]) -> AsyncConnection:
        return await AsyncConnection.connect(conninfo, autocommit=True, dbname=dbname, **changed)

    if login is None:
        return await attempt({})
    return await login.through(attempt, thorough=dbname is None)


# For each database anew it would take longer than anything else before a connection is made.
@lru_cache(maxsize=64)
def _conninfo(dsn: str, **settings: str) -> str:
    given = conninfo_to_dict(dsn)
    pinned = " ".join(
        (statements.SESSION_OPTIONS, *(f"-c {name}={value}" for name, value in settings.items()))
    )
    return make_conninfo(
        dsn,
        connect_timeout=given.get("connect_timeout", CONNECT_TIMEOUT),
        application_name=given.get("application_name", "pgbroker"),
        client_encoding="UTF8",
        # On a standby everything can be looked at, and what is not there yet looks deleted.
        target_session_attrs=given.get("target_session_attrs", "read-write"),
        options=f"{given.get('options', '')} {pinned}".strip(),
        **{name: given.get(name, value) for name, value in SILENCE.items()},
    )


async def _liftable_limit(hold: Hold, database: str) -> int | None:
    """Return the limit to put back, or ``None`` when the limit is not what keeps us out."""
    cursor = await hold.connection.execute(looks.LIFTABLE_LIMIT, [owner_name(database), database])
    row = await cursor.fetchone()
    return None if row is None else row[0]
