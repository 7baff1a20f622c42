"""Looking at storage limits and steering them, for ``pgbroker storage``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from broker.bootstrap.fleet import operated
from broker.bootstrap.upkeep import now, storage_upkeep
from broker.domain.errors import NotFound
from broker.domain.instance import InstanceKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from broker.config import Settings
    from broker.domain.catalog import Catalog
    from broker.store.store import PostgresStore

Rows = list[dict[str, Any]]


async def listed(settings: Settings) -> Rows:
    """Return the last measurement of every instance, the fullest first."""
    async with operated(settings) as (_, store):
        return await _rows(settings.catalog, store)


async def checked(settings: Settings) -> tuple[Rows, list[str]]:
    """Measure all databases and enforce their plans' limits now.

    Returns:
        What ``listed`` does, and the servers that could not be measured.
    """
    async with operated(settings) as (fleet, store):
        missed = await storage_upkeep(settings, store, fleet.servers).run()
        return await _rows(settings.catalog, store), missed


async def allowed(
    settings: Settings, platform: str, instance_id: str, *, duration: timedelta
) -> datetime:
    """Let an instance write over its limit for some time, and return until when.

    Raises:
        NotFound: There is no such instance, or it was never measured.
    """
    async with operated(settings) as (fleet, store):
        until = now() + duration
        if not await store.storage.allow_writes(InstanceKey(platform, instance_id), until):
            raise NotFound(
                f"There is no service instance {instance_id!r} of the platform {platform!r} that "
                "has been measured; `pgbroker storage list` shows those that have."
            )
        await storage_upkeep(settings, store, fleet.servers).run()
        return until


async def _rows(catalog: Catalog, store: PostgresStore) -> Rows:
    found: Rows = []
    for instance in await store.storage.ready():
        plan = catalog.find_plan(instance.service_id, instance.plan_id)
        use = instance.use
        until = use.writes_allowed_until if use else None
        found.append(
            {
                "platform": instance.key.platform,
                "instance_id": instance.key.instance_id,
                "plan": plan.name if plan else None,
                "server": instance.server,
                "database": instance.database,
                "state": instance.storage.value,
                "used_bytes": use.used if use else None,
                "limit_bytes": plan.limits.storage if plan else None,
                "measured_at": use.measured_at.isoformat() if use else None,
                "writes_allowed_until": until.isoformat() if until and until > now() else None,
            }
        )
    return sorted(found, key=_fullness, reverse=True)


def _fullness(row: dict[str, Any]) -> float:
    return (row["used_bytes"] or 0) / (row["limit_bytes"] or float("inf"))


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    """Return a table with a line for each instance; the JSON has more."""
    table = Table("platform", "plan", "state", box=None, pad_edge=False)
    for name in ("used", "limit"):
        table.add_column(name, justify="right")
    # Whole on any terminal: it is what `storage allow` takes.
    table.add_column("instance", overflow="fold")
    for row in rows:
        state = Text(row["state"], "red" if row["state"] == "full" else "")
        if row["writes_allowed_until"]:
            state = Text(f"writes until {row['writes_allowed_until'][:16]}")
        table.add_row(
            row["platform"],
            row["plan"] or "(gone)",
            state,
            _mebibytes(row["used_bytes"]),
            _mebibytes(row["limit_bytes"]),
            row["instance_id"],
        )
    return table


def _mebibytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1024**2:,.0f} MiB"
