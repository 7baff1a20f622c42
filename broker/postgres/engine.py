"""The engine of one server: the protocol ``Engine`` of ``broker/service/ports.py``.

Belongs here: one method per step, each of which takes the lock of its database, does its work,
repeats it after a collision, and speaks of what went wrong in the domain's words.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import psycopg
import structlog

from broker.domain.errors import TemporaryFailure, Unprocessable, UpdateRefused
from broker.postgres import databases, logins, retire
from broker.postgres.connections import Connections
from broker.postgres.errors import REPEATABLE, is_lost, translate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from broker.domain.database import DatabaseChange, DatabaseSpec, LoginSpec
    from broker.postgres.connections import Hold

log = structlog.get_logger()

T = TypeVar("T")

ATTEMPTS = 5
"""How often a step is tried before a collision is the caller's problem."""

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
    """

    def __init__(self, name: str, dsn: str, *, pool_size: int = 8) -> None:
        self._name = name
        self._connections = Connections(name, dsn, pool_size=pool_size)

    def __repr__(self) -> str:
        return f"PostgresEngine({self._name!r})"

    async def open(self) -> None:
        """Get ready to connect; succeeds whether or not the server is there."""
        await self._connections.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._connections.close()

    async def ensure_roles(self, spec: DatabaseSpec) -> None:
        """Create the owner role and the read-only group role.

        Raises:
            Unprocessable: The server cannot create a database with these options.
        """
        await self._step(
            "create the roles of a database",
            spec.name,
            lambda hold: databases.ensure_roles(hold, spec),
        )

    async def ensure_database(self, spec: DatabaseSpec) -> None:
        """Create the database: nobody can connect to it yet.

        Raises:
            Unprocessable: The server cannot create a database with these options.
        """
        await self._step(
            "create a database", spec.name, lambda hold: databases.ensure_database(hold, spec)
        )

    async def initialise_database(self, spec: DatabaseSpec) -> None:
        """Fence the database, set its limits, prepare schema ``public``, install extensions.

        Raises:
            Unprocessable: The server cannot install one of the extensions.
        """
        await self._step(
            "prepare a new database",
            spec.name,
            lambda hold: databases.initialise_database(self._connections, hold, spec),
        )

    async def change_database(self, change: DatabaseChange) -> None:
        """Apply an update in one transaction: all of it or, when it raises, nothing.

        Raises:
            UpdateRefused: PostgreSQL will not do it; the description says why.
        """
        try:
            await self._step(
                "change a database",
                change.database.name,
                lambda hold: databases.change_database(self._connections, hold, change),
            )
        except Unprocessable as exc:
            raise UpdateRefused(
                exc.description, instance_usable=True, update_repeatable=True
            ) from exc

    async def drop_database(self, spec: DatabaseSpec, logins: Sequence[str]) -> None:
        """Drop the database, whoever is connected, then these login roles and the group roles."""
        await self._step(
            "drop a database",
            spec.name,
            lambda hold: retire.drop_database(self._connections, hold, spec, logins),
        )

    async def ensure_login(self, spec: LoginSpec) -> None:
        """Create a login role with exactly this password, limits and expiry."""
        await self._step(
            "create a login",
            spec.database,
            lambda hold: logins.ensure_login(self._connections, hold, spec),
        )

    async def drop_login(self, name: str, *, database: str, owner: str) -> None:
        """Revoke a login: end its sessions, hand what it owns to the owner role, drop it."""
        await self._step(
            "revoke a login",
            database,
            lambda hold: retire.drop_login(self._connections, hold, name, owner),
        )

    async def database_size(self, database: str) -> int:
        """Return the bytes the database occupies."""

        async def measure() -> int:
            async with self._connections.maintenance() as connection:
                return await databases.size(connection, database)

        return await self._repeated("measure a database", measure)

    async def _step(
        self, doing: str, database: str, work: Callable[[Hold], Awaitable[None]]
    ) -> None:
        async def held() -> None:
            async with self._connections.hold(database) as hold:
                await work(hold)

        await self._repeated(doing, held)

    async def _repeated(self, doing: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run what looks before it acts, again when it collided or lost its connection."""
        for attempt in range(ATTEMPTS):
            try:
                return await work()
            except TimeoutError as exc:
                raise TemporaryFailure(
                    f"The PostgreSQL server {self._name!r} took too long to {doing}. Try again."
                ) from exc
            except psycopg.Error as exc:
                lost = is_lost(exc)
                if attempt + 1 == ATTEMPTS or not (lost or isinstance(exc, REPEATABLE)):
                    # The statement stays out of the log: it may carry a verifier.
                    log.warning(
                        "server refused",
                        server=self._name,
                        doing=doing,
                        sqlstate=exc.sqlstate,
                        message=exc.diag.message_primary,
                    )
                    raise translate(exc, server=self._name, doing=doing) from exc
                if lost:
                    await self._connections.discard_lost()
                await asyncio.sleep(PAUSE * 2**attempt)
        raise AssertionError("the last attempt returns or raises")
