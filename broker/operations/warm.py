"""Keeps the warm stock: makes what is missing, drops what nobody wants any more.

The record comes first, as everywhere: a database is written down before it is begun, and is
claimed only when it was finished. Whatever dies, the next round finds what was left, and clears it
away under the lock of the database.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from broker.domain import names
from broker.domain.database import DatabaseSpec, Limits
from broker.domain.errors import BrokerError, TemporaryFailure
from broker.domain.warm import (
    RELEASED_AFTER,
    WarmDatabase,
    fewest,
    fingerprint,
    left_behind,
    missing,
    superfluous,
    warm_key,
)
from broker.operations.adoption import Adoption

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence

    from broker.domain.catalog import Catalog, Plan
    from broker.service.ports import DatabaseSession, Servers, Store, Tags

log = structlog.get_logger()

SETTLE = 0.2
"""Seconds from a claim to the refill, so that it is not in the way of those who claim."""

LONGEST_REST = 1.0
"""Seconds, at most, between two databases made for the stock of a server."""

REFUSED_FOR = 600.0
"""Seconds for which a plan is left alone on a server that will not make its databases."""


class _GivenUp(Exception):
    """Somebody else has changed what becomes of this database."""


class WarmStock:
    """The stock of all servers, as this process keeps it; so does every replica.

    Args:
        store: The state.
        servers: For room and engines.
        catalog: Says how many databases each plan wants.
        tags: For the COMMENT of databases and roles.
        tag_key_id: The key that makes the tags of new instances.
    """

    def __init__(
        self, *, store: Store, servers: Servers, catalog: Catalog, tags: Tags, tag_key_id: str
    ) -> None:
        self._store = store
        self._servers = servers
        self._tags = tags
        self._adoption = Adoption(store, servers, catalog, tags)
        self._tag_key_id = tag_key_id
        self._asked = asyncio.Event()
        self._refused: dict[tuple[str, str], float] = {}
        self._plans = tuple(
            (offering.id, plan)
            for offering in catalog.offerings
            for plan in offering.plans
            if plan.warm
        )

    @property
    def wanted(self) -> dict[tuple[str, str], int]:
        """How many databases there should be, by server and fingerprint."""
        return {
            (server, fingerprint(plan, self._tag_key_id)): plan.warm
            for _, plan in self._plans
            for server in self._servers.suitable(plan, with_away=True)
        }

    def refill_soon(self) -> None:
        """Tag what was handed over, and make what is missing, in the background, in a moment."""
        self._asked.set()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Put the stock in order, and refill it when asked, until the context is left."""
        keeping = asyncio.create_task(self._keep_and_refill(), name="warm stock")
        try:
            yield
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})

    async def keep(self) -> None:
        """Tag what was handed over, drop what nobody wants, and make what is missing."""
        await self._adoption.run()
        stock = await self._store.warm.listed()
        for warm in superfluous(stock, self.wanted):
            if warm.age > RELEASED_AFTER:
                await self._store.warm.release(warm)
        await self.drop(left_behind(await self._store.warm.listed()))
        await self._make_missing()

    async def refill(self) -> None:
        """Tag what was handed over, and make what is missing in its place."""
        await self._adoption.run()
        await self._make_missing()

    async def _make_missing(self) -> None:
        """Make what is missing: on each server one database at a time."""
        if self._plans:
            servers = {name for _, plan in self._plans for name in self._servers.suitable(plan)}
            await asyncio.gather(*(self._refill(server) for server in sorted(servers)))

    async def make_room(self, plan: Plan) -> bool:
        """Drop what of the stock keeps every server from taking one more database of a plan.

        Returns:
            ``False`` when the stock is not what keeps them from it.
        """
        async with self._store.transaction() as state:
            occupancy = await state.occupancy(exclusively=True)

            def enough(server: str, gone: Sequence[WarmDatabase]) -> bool:
                places = ((warm.server, warm.service_id, warm.plan_id) for warm in gone)
                return server in self._servers.room(plan, occupancy.without(places))

            yielding = fewest(await state.warm.listed(), enough)
            for warm in yielding:
                await state.warm.release(warm)
        await self.drop(yielding)
        return bool(yielding)

    async def drop(self, stock: Iterable[WarmDatabase]) -> list[str]:
        """Drop databases that are only to be dropped; the next goes on when one cannot be.

        Returns:
            The names of those that are gone.
        """
        gone = []
        for warm in stock:
            try:
                await self._drop(warm)
            except _GivenUp:
                continue
            except BrokerError as exc:
                log.warning(
                    "warm database not dropped yet",
                    server=warm.server,
                    database=warm.database,
                    reason=exc.description,
                )
            else:
                gone.append(warm.database)
        return gone

    async def _keep_and_refill(self) -> None:
        work = self.keep
        while True:
            try:
                await work()
            except BrokerError as exc:
                log.warning("warm stock not refilled", reason=exc.description)
            except Exception:
                # The periodic work tries again; this must be there when it is asked again.
                log.exception("warm stock not refilled")
            await self._asked.wait()
            await asyncio.sleep(SETTLE)
            self._asked.clear()
            work = self.refill

    async def _refill(self, server: str) -> None:
        """Make what is missing on a server, at half the rate that is possible at most.

        After each database there is as long a rest as it took, so that those who wait for
        something are not behind a whole stock; a server that is slow is given up to a second.
        """
        while (reserved := await self._reserve(server)) is not None:
            warm, plan = reserved
            began = time.monotonic()
            try:
                await self._make(warm, plan)
            except _GivenUp:
                return
            except BrokerError as exc:
                log.warning(
                    "warm database not made",
                    server=server,
                    plan=plan.name,
                    reason=exc.description,
                )
                if not isinstance(exc, TemporaryFailure):
                    self._refused[server, warm.fingerprint] = time.monotonic() + REFUSED_FOR
                await self._store.warm.release(warm)
                return
            await _rest(min(time.monotonic() - began, LONGEST_REST))

    async def _reserve(self, server: str) -> tuple[WarmDatabase, Plan] | None:
        """Record the next database to make on a server; ``None`` when there is none."""
        wanting = [
            (service_id, plan, wanted)
            for service_id, plan in self._plans
            if self._refused.get((server, wanted := fingerprint(plan, self._tag_key_id)), 0)
            < time.monotonic()
        ]
        if not wanting:
            return None
        async with self._store.transaction() as state:
            # Counted exclusively, so that neither two replicas nor a provision take the same place.
            occupancy = await state.occupancy(exclusively=True)
            stock = await state.warm.listed()
            for service_id, plan, wanted in wanting:
                if not missing(stock, plan, server=server, fingerprint=wanted):
                    continue
                if server not in self._servers.room(plan, occupancy):
                    continue
                database = names.database_name()
                warm = WarmDatabase(
                    database=database,
                    server=server,
                    service_id=service_id,
                    plan_id=plan.id,
                    fingerprint=wanted,
                    tag=self._tags.instance(warm_key(database), self._tag_key_id),
                )
                await state.warm.add(warm)
                return warm, plan
        return None

    async def _make(self, warm: WarmDatabase, plan: Plan) -> None:
        spec = _spec(warm, plan.limits, plan.extensions.default)

        async def make(database: DatabaseSession) -> None:
            await database.ensure_roles(spec)
            await database.ensure_database(spec)
            await database.initialise_database(spec)
            # Under the lock: who waits for that to drop what was left behind finds it ready.
            if not await self._store.warm.ready(warm.database):
                raise _GivenUp

        await self._exclusively(warm, make, self._store.warm.is_being_made)
        log.info("warm database made", server=warm.server, plan=plan.name, database=warm.database)

    async def _drop(self, warm: WarmDatabase) -> None:
        # The tag proves that it is ours; limits play no part.
        spec = _spec(warm, Limits(connections=0, connections_per_binding=0), ())
        await self._exclusively(
            warm, lambda database: database.drop_database(spec, ()), self._store.warm.give_up
        )
        await self._store.warm.forget(warm.database)
        log.info("warm database dropped", server=warm.server, database=warm.database)

    async def _exclusively(
        self,
        warm: WarmDatabase,
        work: Callable[[DatabaseSession], Awaitable[None]],
        still: Callable[[str], Awaitable[bool]],
    ) -> None:
        async def confirm() -> None:
            if not await still(warm.database):
                raise _GivenUp

        await self._servers.engine(warm.server).exclusively(warm.database, work, confirm=confirm)


async def _rest(seconds: float) -> None:
    await asyncio.sleep(seconds)


def _spec(warm: WarmDatabase, limits: Limits, extensions: tuple[str, ...]) -> DatabaseSpec:
    return DatabaseSpec(
        name=warm.database,
        owner=names.owner_name(warm.database),
        tag=warm.tag,
        limits=limits,
        extensions=extensions,
    )
