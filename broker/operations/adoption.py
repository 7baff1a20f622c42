"""Lets databases that were handed over from the warm stock say whose they are.

An instance that is given a finished database is finished with the record of that; the comments
follow here, a moment later. Whatever works on the instance before adopts first, and nobody gets
credentials before it has: a database that still says it is nobody's has never been used.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

import structlog

from broker.domain.errors import BrokerError, TemporaryFailure
from broker.domain.instance import Status
from broker.domain.warm import WarmState
from broker.service.specs import database_spec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.domain.catalog import Catalog
    from broker.domain.warm import WarmDatabase
    from broker.service.ports import DatabaseSession, Servers, Store, Tags

log = structlog.get_logger()


class _Adopted(Exception):
    """Another replica was quicker."""


@dataclass(frozen=True, slots=True)
class Adoption:
    """Adopts what was handed over; every replica may, at the same time.

    Attributes:
        store: The state.
        servers: For the engines.
        catalog: For the limits of the plans.
        tags: For the COMMENT of databases and roles.
    """

    store: Store
    servers: Servers
    catalog: Catalog
    tags: Tags

    async def run(self) -> None:
        """Adopt all there is, on all servers at once."""
        claimed = [
            warm for warm in await self.store.warm.listed() if warm.state is WarmState.CLAIMED
        ]
        claimed.sort(key=lambda warm: warm.server)
        by_server = [tuple(found) for _, found in groupby(claimed, key=lambda warm: warm.server)]
        await asyncio.gather(*map(self._adopt_all, by_server))

    async def _adopt_all(self, claimed: Iterable[WarmDatabase]) -> None:
        for warm in claimed:
            try:
                await self._adopt(warm)
                await self.store.warm.adopted(warm.database)
            except _Adopted:
                continue
            except BrokerError as exc:
                place = {"server": warm.server, "database": warm.database}
                log.warning("warm database not tagged", **place, reason=exc.description)

    async def _adopt(self, warm: WarmDatabase) -> None:
        async def confirm() -> None:
            if not await self.store.warm.is_claimed(warm.database):
                raise _Adopted

        async def adopt(database: DatabaseSession) -> None:
            instance = await self.store.census.instance_of(warm.server, warm.database)
            if instance is None or instance.status is not Status.READY:
                return  # Whoever deletes it adopts it, too.
            plan = self.catalog.find_plan(instance.service_id, instance.plan_id)
            if plan is None:
                return  # Whatever is done with it next adopts it.
            spec = database_spec(instance, plan.limits, self.tags)
            if await database.adopt_database(spec, warm.tag):
                # As for any provision, should somebody have changed or dropped it in the stock.
                await database.ensure_roles(spec)
                await database.ensure_database(spec)
                await database.initialise_database(spec)

        engine = self.servers.engine(warm.server)
        try:
            await engine.exclusively(warm.database, adopt, confirm=confirm)
        except TemporaryFailure:
            raise
        except BrokerError as exc:
            # What will not be adopted is left to reconciliation, which reports it.
            place = {"server": warm.server, "database": warm.database}
            log.warning("warm database left untagged", **place, reason=exc.description)
