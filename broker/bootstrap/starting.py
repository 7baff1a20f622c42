"""What a serving process compares when it starts: state, servers and files may not fit together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from broker.bootstrap.reconciliation import first_look, reconciler_of
from broker.domain.errors import BrokerError

if TYPE_CHECKING:
    from broker.bootstrap.fleet import Fleet
    from broker.config import Settings
    from broker.store import PostgresStore

log = structlog.get_logger()


async def compare_at_start(settings: Settings, fleet: Fleet, store: PostgresStore) -> None:
    """Log what does not fit together; without the state, nothing is known."""
    try:
        await first_look(reconciler_of(settings, fleet, store))
    except BrokerError as exc:
        log.warning("not compared at the start", reason=exc.description)
