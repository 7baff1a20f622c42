"""What a serving process compares when it starts: state, servers and files may not fit together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from broker.bootstrap.reconciliation import first_look, log_report, reconciler_of
from broker.domain.errors import BrokerError
from broker.domain.inventory import one_server, without_plan, without_platform
from broker.service.reconcile import servers_without_entry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.bootstrap.fleet import Fleet
    from broker.config import Settings
    from broker.domain.inventory import InstanceCount, Traits
    from broker.postgres.engine import PostgresEngine
    from broker.store import PostgresStore

PLAN_REMEDY = (
    "Give the plan back to the catalog, under this id. Without it their limits are not kept, and a "
    "deleted database is dropped at once."
)

log = structlog.get_logger()


async def compare_at_start(settings: Settings, fleet: Fleet, store: PostgresStore) -> None:
    """Log what does not fit together; without the state, nothing is known."""
    try:
        log_misfits(settings, await store.census.counts())
        reconciler = reconciler_of(settings, fleet, store)
        for report in await servers_without_entry(reconciler):
            log_report(report)
        await first_look(reconciler)
    except BrokerError as exc:
        log.warning("not compared at the start", reason=exc.description)
    await _log_servers(settings, fleet)


async def _log_servers(settings: Settings, fleet: Fleet) -> None:
    """Log servers that are one, and extensions that a plan promises and a server does not have."""
    asked = await asyncio.gather(*map(_traits, fleet.engines))
    traits = {
        name: found
        for name, found in zip(fleet.servers.names, asked, strict=True)
        if found is not None
    }
    for same in one_server(traits):
        log.warning(
            "one server under several names",
            servers=same,
            remedy="Name it once in the servers file: its capacity is counted for each name.",
        )
    for offering in settings.catalog.offerings:
        for plan in offering.plans:
            for name, found in traits.items():
                lacking = sorted({*plan.extensions.allowed} - found.extensions)
                if lacking and fleet.servers.serves(plan, name):
                    log.warning(
                        "a server lacks extensions that a plan allows",
                        server=name,
                        plan=plan.name,
                        extensions=lacking,
                        remedy="Install them on the server, or take them out of the plan: whoever "
                        "asks for one is refused there.",
                    )


async def _traits(engine: PostgresEngine) -> Traits | None:
    try:
        return await engine.traits()
    except BrokerError:
        return None  # whoever does not answer is told of elsewhere


def log_misfits(settings: Settings, counts: Sequence[InstanceCount]) -> None:
    """Log which instances have a plan or a platform that is not configured.

    Args:
        settings: The broker's.
        counts: The instances of the state.
    """
    for plan_id, total in without_plan(counts, settings.catalog).items():
        log.error(
            "instances of a plan that is not in the catalog",
            plan=plan_id,
            instances=total,
            remedy=PLAN_REMEDY,
        )
    platforms = [platform.name for platform in settings.platforms]
    for platform, total in without_platform(counts, platforms).items():
        log.warning(
            "instances of a platform that is not configured",
            platform=platform,
            instances=total,
            remedy="Nobody can reach them: give the platform that made them this name again.",
        )
