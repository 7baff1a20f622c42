"""An engine that knows whether its server answers.

Belongs here: noticing that a server is away, answering at once while it is, and noticing that it
is back. Each process learns for itself: what one replica cannot reach another one may.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from broker.domain.errors import BrokerError, OutcomeUnknown, ServerAway, ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from broker.domain.inventory import Inventory
    from broker.domain.placement import Vitals
    from broker.service.ports import DatabaseSession, Engine

log = structlog.get_logger()

PROBE_PATIENCE = 1.0
"""Seconds that a request waits to see whether a server that was away is back."""


class WatchedEngine:
    """An ``Engine`` that refuses at once while its server is away.

    A server is away once it could not be reached when there was work for it, or when somebody
    looked. From then on each piece of work looks first: a server that is back is used at once, and
    one that is not is not waited for.

    Args:
        server: The server's configured name.
        engine: Does the work.

    Attributes:
        reachable: ``False`` while the server is away.
        last_vitals: What it said of itself when somebody looked; ``None`` before that.
        last_failure: Why it could not be reached the last time; ``None`` when it could.
    """

    def __init__(self, server: str, engine: Engine) -> None:
        self.reachable = True
        self.last_vitals: Vitals | None = None
        self.last_failure: BrokerError | None = None
        self._server = server
        self._engine = engine
        self._looking: asyncio.Task[None] | None = None

    async def exclusively(
        self,
        database: str,
        work: Callable[[DatabaseSession], Awaitable[object]],
        *,
        confirm: Callable[[], Awaitable[None]],
    ) -> None:
        """Work on one database, see ``Engine.exclusively``.

        Raises:
            ServerAway: The server was away before; nothing has been done.
        """
        async with self._watched():
            await self._engine.exclusively(database, work, confirm=confirm)

    async def database_size(self, database: str) -> int:
        """Return the bytes the database occupies.

        Raises:
            ServerAway: The server was away before.
        """
        async with self._watched():
            return await self._engine.database_size(database)

    async def sizes(self) -> dict[str, int]:
        """Return the bytes that each database occupies, see ``Engine.sizes``.

        Raises:
            ServerAway: The server was away before.
        """
        async with self._watched():
            return await self._engine.sizes()

    async def inventory(self) -> Inventory:
        """List what the server holds of the broker's, without a lock.

        Raises:
            ServerAway: The server was away before.
        """
        async with self._watched():
            return await self._engine.inventory()

    async def end_expired_sessions(self) -> dict[str, int]:
        """Disconnect expired logins, see ``Engine.end_expired_sessions``.

        Raises:
            ServerAway: The server was away before.
        """
        async with self._watched():
            return await self._engine.end_expired_sessions()

    async def vitals(self) -> Vitals:
        """Ask the server how it is.

        Raises:
            ServerUnavailable: It does not answer.
        """
        return await self._engine.vitals()

    async def look(self) -> None:
        """Ask the server how it is, and remember; whoever asks meanwhile shares the answer."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(), name=f"look at {self._server}")
        await asyncio.wait({self._looking})

    async def _look(self) -> None:
        try:
            self.last_vitals = await self._engine.vitals()
        except BrokerError as exc:
            self._note(reachable=False, reason=exc)
        else:
            self._note(reachable=True)

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        if not self.reachable:
            await asyncio.wait({asyncio.ensure_future(self.look())}, timeout=PROBE_PATIENCE)
            if not self.reachable:
                raise ServerAway(
                    f"The PostgreSQL server {self._server!r} does not answer at the moment. Try "
                    "again later."
                )
        try:
            yield
        except ServerUnavailable as exc:
            self._note(reachable=False, reason=exc)
            raise
        except OutcomeUnknown as exc:
            if isinstance(exc.__cause__, ServerUnavailable):
                self._note(reachable=False, reason=exc.__cause__)
            raise

    def _note(self, *, reachable: bool, reason: BrokerError | None = None) -> None:
        if reachable and not self.reachable:
            log.info("server answers again", server=self._server)
        elif self.reachable and reason is not None:
            log.warning(
                "server does not answer",
                server=self._server,
                reason=reason.description,
                # A wrong password, a missing database and a dead network need different people.
                cause=reason.cause,
            )
        self.reachable, self.last_failure = reachable, reason
