"""Instances that the configuration has no place for: told at every start.

Belongs here: noticing that a plan's id was mistyped or taken out, or that a platform was renamed,
while there are instances of it. Both are silent otherwise until a user complains.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import structlog

from broker.domain.errors import BrokerError

if TYPE_CHECKING:
    from broker.config import Settings
    from broker.store.store import PostgresStore

log = structlog.get_logger()


async def log_unserved(settings: Settings, store: PostgresStore) -> None:
    """Count what no plan or platform of the configuration covers, and log it."""
    try:
        kinds = await store.census.kinds()
    except BrokerError:
        return  # Whoever starts without a state database is told so already.
    platforms = {platform.name for platform in settings.platforms}
    unplanned: Counter[tuple[str, str]] = Counter()
    unreachable: Counter[str] = Counter()
    for (platform, service_id, plan_id), instances in kinds.items():
        if settings.catalog.find_plan(service_id, plan_id) is None:
            unplanned[service_id, plan_id] += instances
        if platform not in platforms:
            unreachable[platform] += instances
    for (service_id, plan_id), instances in unplanned.items():
        log.error(
            "instances of a plan that is not in the catalog",
            service_id=service_id,
            plan_id=plan_id,
            instances=instances,
            remedy="Put the plan back, or correct its id: until then these instances can be "
            "neither bound nor updated, have no limits enforced, and are not kept when deleted.",
        )
    for platform, instances in unreachable.items():
        log.error(
            "instances of a platform that is not configured",
            platform=platform,
            instances=instances,
            remedy="Give the platform its former name back: until then nobody can reach them.",
        )
