"""Reconciling and recovering: as commands, and as periodic work."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from broker.bootstrap.fleet import key_ring, operated
from broker.operations.jobs import Chore
from broker.service.reconcile import (
    BUSY,
    Orders,
    Reconciler,
    reconcile,
    servers_without_entry,
)
from broker.service.recover import recover
from broker.store import EncryptedTags

if TYPE_CHECKING:
    from broker.bootstrap.fleet import Fleet
    from broker.config import Settings
    from broker.domain.drift import Drift
    from broker.service.reconcile import ServerReport
    from broker.service.recover import RecoveryReport
    from broker.store import PostgresStore

log = structlog.get_logger()

EVERY = "23 * * * *"
"""Once an hour, when few other things are."""


async def run_reconcile(settings: Settings, orders: Orders) -> list[ServerReport]:
    """Compare every server with the state, once.

    Raises:
        BrokerError: The state database cannot be used, or a key is missing.
    """
    async with operated(settings) as (fleet, store):
        await store.verify_keys()
        reconciler = reconciler_of(settings, fleet, store)
        reports = await reconcile(reconciler, orders)
        return [*reports, *await servers_without_entry(reconciler)]


async def run_recover(settings: Settings) -> RecoveryReport:
    """Add to the state what the servers have and it does not.

    Raises:
        BrokerError: The state database cannot be used, or a key is missing.
    """
    async with operated(settings) as (fleet, store):
        await store.verify_keys()
        reconciler = reconciler_of(settings, fleet, store)
        return await recover(store, reconciler.engines, reconciler.tags)


def reconciler_of(settings: Settings, fleet: Fleet, store: PostgresStore) -> Reconciler:
    """Return what reconciles the configured servers with the state."""
    keys = key_ring(settings)
    return Reconciler(
        store,
        {server.name: fleet.servers.engine(server.name) for server in settings.servers},
        settings.catalog,
        EncryptedTags(keys),
        clock=lambda: datetime.now(UTC),
    )


def reconcile_chore(reconciler: Reconciler, settings: Settings) -> Chore:
    """Return the periodic work: repairs, and closes what has been unknown for long enough."""
    orders = Orders(apply=True, quarantine_after=settings.quarantine_after)

    async def run() -> None:
        reports = await reconcile(reconciler, orders)
        for report in [*reports, *await servers_without_entry(reconciler)]:
            log_report(report)

    return Chore("reconcile", EVERY, run)


def first_look_chore(reconciler: Reconciler) -> Chore:
    """Return the periodic work that looks at servers which this state has never been compared with.

    A state that was lost and made anew while replicas ran would not be noticed for an hour.
    """

    async def run() -> None:
        await first_look(reconciler)

    return Chore("first_look", "* * * * *", run)


async def first_look(reconciler: Reconciler) -> None:
    """Compare the servers that were never looked at with the state, and change nothing on them.

    Raises:
        StateUnavailable: The state database cannot be reached.
    """
    looked_at = await reconciler.store.drift.looked_at()
    new = {name: engine for name, engine in reconciler.engines.items() if name not in looked_at}
    for report in await reconcile(replace(reconciler, engines=new), Orders(apply=False)):
        if report.drift:
            log_report(report)


def log_report(report: ServerReport) -> None:
    """Log what was found on a server: repairs as information, what a person must see as errors."""
    for drift in report.drift:
        _log_drift(drift)
    for database, why in report.skipped.items():
        if why != BUSY:
            log.warning("database not compared", server=report.server, database=database, why=why)
    write = log.info if report.failure is None else log.warning
    write(
        "server reconciled" if report.failure is None else "server not reconciled",
        server=report.server,
        checked=report.checked,
        skipped=len(report.skipped),
        drift=len(report.drift),
        unreadable=report.unreadable,
        reason=report.failure,
    )


def _log_drift(drift: Drift) -> None:
    kind = drift.deviation.kind
    write = log.info if drift.resolved else log.error
    write(
        "drift",
        server=drift.server,
        kind=kind.value,
        treatment=kind.treatment.value,
        subject=drift.deviation.subject,
        platform=drift.platform,
        instance=drift.instance_id,
        detail=drift.deviation.detail,
        resolved=drift.resolved,
    )
