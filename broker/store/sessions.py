"""Sessions of the state database: opened when needed, kept, and lent to one user at a time.

The one that was given back last is lent first: its statements are prepared, its caches are warm.
A session that cannot be opened fails at once and whoever wanted it is told; nobody waits for a
state database that is down.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import AsyncConnection
from psycopg.pq import TransactionStatus
from psycopg.rows import namedtuple_row
from psycopg.types.json import JsonDumper

from broker.domain.errors import StateUnavailable
from broker.store.connect import CONFIGURE, configuration, connection_options
from broker.store.errors import BUSY
from broker.store.execution import execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import timedelta

    from sqlalchemy.sql.elements import ClauseElement

    from broker.store.execution import Found, Row


class Sessions:
    """Sessions with the same settings.

    Args:
        dsn: The state database, as a libpq connection string or URI.
        size: The most at a time.
        patience: How long to wait for one to be opened, for a free one, and for a lock.
        autocommit: Every statement is a transaction of its own.
    """

    def __init__(self, dsn: str, *, size: int, patience: timedelta, autocommit: bool) -> None:
        self._dsn = dsn
        self._patience = patience
        self._autocommit = autocommit
        self._places = asyncio.Semaphore(size)
        self._idle: list[AsyncConnection[Row]] = []
        self._closed = False

    async def close(self) -> None:
        """Close the idle ones; those in use close when they are given back."""
        self._closed = True
        await self.forget_idle()

    async def forget_idle(self) -> None:
        """Close the idle ones: when the server has closed one, it has closed the others, too."""
        while self._idle:
            await self._idle.pop().close()

    @asynccontextmanager
    async def lent(self) -> AsyncIterator[Session]:
        """Lend a session; what it leaves unfinished is rolled back.

        Raises:
            StateUnavailable: All are in use, for too long.
            psycopg.OperationalError: None can be opened.
        """
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                await self._places.acquire()
        except TimeoutError as exc:
            raise StateUnavailable(BUSY) from exc
        try:
            session = Session(self, self._idle.pop() if self._idle else await self.opened())
            try:
                yield session
            finally:
                await self._give_back(session.connection)
        finally:
            self._places.release()

    async def opened(self) -> AsyncConnection[Row]:
        """Open a connection.

        Raises:
            psycopg.OperationalError: The database cannot be reached, or will not let us in.
        """
        connection: AsyncConnection[Row] = await AsyncConnection.connect(
            self._dsn,
            autocommit=True,
            row_factory=namedtuple_row,
            **connection_options(self._patience),
        )
        try:
            connection.adapters.register_dumper(dict, JsonDumper)
            await connection.execute(CONFIGURE, [configuration({}, patience=self._patience)])
            if not self._autocommit:
                await connection.set_isolation_level(psycopg.IsolationLevel.READ_COMMITTED)
                await connection.set_autocommit(False)
        except BaseException:
            await connection.close()
            raise
        return connection

    async def _give_back(self, connection: AsyncConnection[Row]) -> None:
        # One that is closed, or whose user was cancelled half-way, is in no state to be lent again.
        if self._closed or connection.info.transaction_status is not TransactionStatus.IDLE:
            await connection.close()
        else:
            self._idle.append(connection)


class Session:
    """One session, lent.

    Args:
        sessions: Where it is from.
        connection: Its connection.

    Attributes:
        connection: Its connection; another one after a statement was repeated.
    """

    def __init__(self, sessions: Sessions, connection: AsyncConnection[Row]) -> None:
        self._sessions = sessions
        self.connection = connection

    async def execute(
        self,
        statement: ClauseElement,
        values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        repeatable: bool,
    ) -> Found:
        """Run a statement.

        Args:
            statement: What to run.
            values: Its parameters, or several sets of them.
            repeatable: Run it again, once and on a new connection, if the server has closed this
                one in the meantime.

        Raises:
            psycopg.Error: The driver's.
        """
        try:
            return await execute(self.connection, statement, values)
        except psycopg.errors.ReadOnlySqlTransaction:
            # A primary of former times, or a database that was closed for a while: a session stays
            # what it was when it was opened.
            await self._sessions.forget_idle()
            await self.connection.close()
            raise
        except psycopg.OperationalError:
            if not (repeatable and self.connection.closed):
                raise
        await self._sessions.forget_idle()
        self.connection = await self._sessions.opened()
        return await execute(self.connection, statement, values)
