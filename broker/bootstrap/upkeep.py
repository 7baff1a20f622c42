"""The periodic work, put together: for the worker, and for commands that do it at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from broker.bootstrap.fleet import key_ring
from broker.bootstrap.reconciliation import first_look_chore, reconcile_chore, reconciler_of
from broker.operations.expiry import ExpiryUpkeep
from broker.operations.jobs import Chore
from broker.operations.quota import QuotaUpkeep
from broker.operations.warm import WarmStock
from broker.store.tags import EncryptedTags

if TYPE_CHECKING:
    from broker.bootstrap.assembly import Wiring
    from broker.config import Settings
    from broker.providers.shared import SharedServers
    from broker.store.store import PostgresStore


def chores(settings: Settings, wiring: Wiring) -> tuple[Chore, ...]:
    """Return the periodic work, done by one replica at a time."""

    async def forget_operations() -> None:
        await wiring.store.forget_operations(settings.keep_operations)

    storage = storage_upkeep(settings, wiring.store, wiring.fleet.servers)
    expiry = expiry_upkeep(settings, wiring)
    reconciler = reconciler_of(settings, wiring.fleet, wiring.store)
    return (
        Chore("forget_operations", "*/10 * * * *", forget_operations),
        Chore("purge_deleted_instances", "* * * * *", wiring.purge.due),
        Chore("enforce_storage_limits", "* * * * *", storage.run),
        Chore("keep_warm_stock", "* * * * * */20", wiring.stock.keep),
        reconcile_chore(reconciler, settings),
        first_look_chore(reconciler),
        Chore("end_expired_sessions", "* * * * *", expiry.end_sessions),
        Chore("remove_expired_bindings", "* * * * *", expiry.unbind),
    )


def expiry_upkeep(settings: Settings, wiring: Wiring) -> ExpiryUpkeep:
    """Return what ends the sessions of expired logins and unbinds them."""
    return ExpiryUpkeep(
        broker=wiring.broker, records=wiring.store.expired, keep=settings.keep_expired
    )


def storage_upkeep(settings: Settings, store: PostgresStore, servers: SharedServers) -> QuotaUpkeep:
    """Return what enforces the plans' storage limits."""
    return QuotaUpkeep(
        store=store,
        records=store.storage,
        servers=servers,
        catalog=settings.catalog,
        clock=now,
        always=any(server.max_storage is not None for server in settings.servers),
        named=[server.name for server in settings.servers],
    )


def warm_stock(settings: Settings, store: PostgresStore, servers: SharedServers) -> WarmStock:
    """Return what keeps databases ready."""
    keys = key_ring(settings)
    return WarmStock(
        store=store,
        servers=servers,
        catalog=settings.catalog,
        tags=EncryptedTags(keys),
        tag_key_id=keys.ids[0],
    )


def now() -> datetime:
    """Return the time (UTC)."""
    return datetime.now(UTC)
