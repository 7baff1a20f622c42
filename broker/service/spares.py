"""Dropping what is left of a warm stock that no record knows, as after the state was lost."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.domain.database import DatabaseSpec
from broker.domain.errors import BrokerError, StateUnavailable
from broker.domain.names import owner_name
from broker.service.reconcile import PATIENCE
from broker.service.reconcile_database import InProgress
from broker.service.reconcile_strangers import find_strangers
from broker.service.specs import NO_LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from broker.service.ports import DatabaseSession, Engine
    from broker.service.reconcile import Reconciler
    from broker.service.reconcile_strangers import Suspect


@dataclass(slots=True)
class SparesReport:
    """What has become of the unknown spare databases of all servers.

    Attributes:
        dropped: The databases that are gone.
        left: Those that are not, and why.
        failures: The servers that could not be looked at, and why.
    """

    dropped: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


async def drop_unknown_spares(reconciler: Reconciler, servers: Iterable[str]) -> SparesReport:
    """Drop the databases that are tagged as the stock's own and that no record knows.

    Args:
        reconciler: The state, the servers, and what opens tags.
        servers: The names of those to look at.

    Raises:
        StateUnavailable: The state database cannot be reached.
    """
    report = SparesReport()
    for server in servers:
        try:
            await _drop_on(reconciler, reconciler.engines[server], report)
        except StateUnavailable:
            raise
        except BrokerError as exc:
            report.failures[server] = exc.description
    return report


async def _drop_on(reconciler: Reconciler, engine: Engine, report: SparesReport) -> None:
    inventory = await engine.inventory()
    strangers = await find_strangers(inventory, set(), tags=reconciler.tags, store=reconciler.store)
    for suspect in strangers.suspects:
        if not suspect.is_spare:
            continue
        try:
            async with asyncio.timeout(PATIENCE):
                await _drop(engine, suspect)
        except InProgress:
            report.left[suspect.name] = "It is known by now."
        except TimeoutError:
            report.left[suspect.name] = f"It took longer than {PATIENCE:.0f} s."
        except StateUnavailable:
            raise
        except BrokerError as exc:
            report.left[suspect.name] = exc.description
        else:
            report.dropped.append(suspect.name)


async def _drop(engine: Engine, suspect: Suspect) -> None:
    spec = DatabaseSpec(suspect.name, owner_name(suspect.name), suspect.tag, NO_LIMITS)

    async def drop(database: DatabaseSession) -> None:
        await database.drop_spare(spec)

    await engine.exclusively(suspect.name, drop, confirm=suspect.confirm)
