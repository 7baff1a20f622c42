"""The engine of one server: the protocol ``Engine`` of ``broker/service/ports``.

Belongs here: taking the lock of a database for a piece of work, repeating the work after a
collision, and speaking of what went wrong in the domain's words.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import psycopg
import structlog
from psycopg.rows import class_row

from broker.domain.errors import BrokerError, OutcomeUnknown, TemporaryFailure
from broker.domain.inventory import Traits
from broker.domain.placement import Vitals
from broker.postgres import databases, quota, server_statements, sessions
from broker.postgres.connections import Connections
from broker.postgres.errors import REPEATABLE, is_lost, translate, unavailable
from broker.postgres.exclusive import Activity, ExclusiveSession
from broker.postgres.inventory import take_inventory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.domain.inventory import Inventory
    from broker.postgres.admin_login import StoredPasswords
    from broker.service.ports import DatabaseSession

log = structlog.get_logger()

T = TypeVar("T")

ATTEMPTS = 5
"""How often work is tried before a collision is the caller's problem."""

LOOK_TIMEOUT = 8
"""Seconds until a server that lets us in and then says nothing counts as unreachable."""

PAUSE = 0.05
"""Seconds before the second attempt; doubled before each further one."""


class PostgresEngine:
    """Databases, roles and grants on one PostgreSQL server, 14 to 18.

    Every method raises ``ServerUnavailable`` when the server is down, ``TemporaryFailure`` when
    it is full or something stays locked, and ``PermanentFailure`` when it will not do it.

    Args:
        name: The server's configured name: what errors call it.
        dsn: libpq connection string of the broker's role, to its maintenance database.
        pool_size: How many databases are worked on at once.
        stored_passwords: Reads what the role's password was changed to, see ``AdminLogin``.
    """

    def __init__(
        self,
        name: str,
        dsn: str,
        *,
        pool_size: int = 8,
        stored_passwords: StoredPasswords | None = None,
    ) -> None:
        self._name = name
        self._connections = Connections(
            name, dsn, pool_size=pool_size, stored_passwords=stored_passwords
        )

    def __repr__(self) -> str:
        return f"PostgresEngine({self._name!r})"

    async def open(self) -> None:
        """Get ready to connect; succeeds whether or not the server is there."""
        await self._connections.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    async def exclusively(
        self,
        database: str,
        work: Callable[[DatabaseSession], Awaitable[object]],
        *,
        confirm: Callable[[], Awaitable[None]],
    ) -> None:
        """Work on one database while every other session of the broker is kept away from it.

        The whole of it, lock and confirmation included, is repeated after a collision or when
        the connection was lost: whoever ended our session may have done so to take the lock.

        Args:
            database: The database's name; it need not exist.
            work: What to do: looks before it acts.
            confirm: Awaited each time the lock has been granted, and before anything is done. What
                it raises is raised, and nothing has been changed.

        Raises:
            OutcomeUnknown: The answer to the COMMIT of a change was lost. Whoever begins again is
                to find out first (``is_changed``).
        """
        activity = Activity("start to work on a database")

        async def held() -> None:
            activity.committing = False
            async with self._connections.hold(database) as hold:
                await confirm()
                await work(ExclusiveSession(self._connections, hold, activity))

        try:
            await self._repeated(activity, held)
        except BrokerError as exc:
            if activity.unknown:
                raise OutcomeUnknown(exc.description) from exc
            raise

    async def database_size(self, database: str) -> int:
        """Return the bytes the database occupies."""

        async def measure() -> int:
            async with self._connections.maintenance() as connection:
                return await databases.size(connection, database)

        return await self._repeated(Activity("measure a database"), measure)

    async def vitals(self) -> Vitals:
        """Ask the server over a new connection how it is.

        Raises:
            ServerUnavailable: It does not answer, or lets the broker not in.
        """
        try:
            async with (
                asyncio.timeout(LOOK_TIMEOUT),
                await self._connections.connect() as connection,
                connection.cursor(row_factory=class_row(Vitals)) as cursor,
            ):
                await cursor.execute(server_statements.VITALS)
                vitals = await cursor.fetchone()
        except (TimeoutError, psycopg.Error) as exc:
            raise unavailable(self._name) from exc
        if vitals is None:
            raise AssertionError("a SELECT without FROM returns one row")
        return vitals

    async def traits(self) -> Traits:
        """Ask the server which one it is, and what can be installed on it."""

        async def ask() -> Traits:
            async with self._connections.maintenance() as connection:
                row = await (await connection.execute(server_statements.TRAITS)).fetchone()
            if row is None:
                raise AssertionError("a SELECT without FROM returns one row")
            return Traits(identity=row[0], extensions=frozenset(row[1]))

        return await self._repeated(Activity("ask the server what it is"), ask)

    async def sizes(self) -> dict[str, int]:
        """Return the bytes that each database of the broker's occupies, by name."""

        async def measure() -> dict[str, int]:
            async with self._connections.maintenance() as connection:
                return await quota.sizes(connection)

        return await self._repeated(Activity("measure the databases"), measure)

    async def inventory(self) -> Inventory:
        """List what the server holds of the broker's, without a lock."""

        async def take() -> Inventory:
            async with self._connections.maintenance() as connection:
                return await take_inventory(connection)

        return await self._repeated(Activity("list databases and roles"), take)

    async def end_expired_sessions(self) -> dict[str, int]:
        """Disconnect the logins whose ``VALID UNTIL`` has passed; return how many of each."""

        async def end() -> dict[str, int]:
            async with self._connections.maintenance() as connection:
                return await sessions.end_expired(connection)

        return await self._repeated(Activity("end the sessions of expired logins"), end)

    async def _repeated(self, activity: Activity, work: Callable[[], Awaitable[T]]) -> T:
        """Run what looks before it acts, again when it collided or lost its connection."""
        for attempt in range(ATTEMPTS):
            try:
                return await work()
            except TimeoutError as exc:
                activity.unknown = activity.unknown or activity.committing
                raise TemporaryFailure(
                    f"The PostgreSQL server {self._name!r} took too long to {activity.doing}. "
                    "Try again."
                ) from exc
            except psycopg.Error as exc:
                lost = is_lost(exc)
                activity.unknown = activity.unknown or (lost and activity.committing)
                if attempt + 1 == ATTEMPTS or not (lost or isinstance(exc, REPEATABLE)):
                    # The statement stays out of the log: it may carry a verifier.
                    log.warning(
                        "server refused",
                        server=self._name,
                        doing=activity.doing,
                        sqlstate=exc.sqlstate,
                        message=exc.diag.message_primary,
                    )
                    raise translate(exc, server=self._name, doing=activity.doing) from exc
                if lost:
                    await self._connections.discard_lost()
                await asyncio.sleep(PAUSE * 2**attempt)
        raise AssertionError("the last attempt returns or raises")
