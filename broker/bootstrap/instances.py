"""Instances for an operator, deleted ones above all: listed, put back, dropped for good.

Belongs here: what ``pgbroker instances`` does and shows.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from broker.bootstrap.assembly import wire
from broker.bootstrap.fleet import operated
from broker.domain.deleted import Stage
from broker.domain.errors import NotFound
from broker.domain.names import retained_name
from broker.service.context import Progress
from broker.service.undelete import undelete

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from broker.bootstrap.assembly import Wiring
    from broker.config import Settings
    from broker.domain.catalog import Catalog
    from broker.domain.deleted import DeletedInstance
    from broker.domain.instance import Instance


async def found_instances(settings: Settings, name: str | None) -> list[tuple[Instance, int]]:
    """Return instances with how many bindings each has.

    Args:
        settings: The broker's.
        name: Of a database or role, as PostgreSQL's log has it; ``None`` is all instances.

    Raises:
        StateUnavailable: The state database cannot be used.
    """
    async with operated(settings) as (_, store):
        return await store.census.found(name)


async def deleted_instances(settings: Settings) -> Sequence[DeletedInstance]:
    """Return all deleted instances whose data is kept, the oldest deletion first.

    Raises:
        StateUnavailable: The state database cannot be used.
    """
    async with _opened(settings) as wiring:
        return await wiring.store.deleted.listed()


async def undelete_instance(settings: Settings, deletion: UUID) -> tuple[DeletedInstance, bool]:
    """Put a deleted instance back under its former id.

    Returns:
        What it was, and whether it is back already; otherwise it will be in a while.

    Raises:
        BrokerError: It cannot be put back.
    """
    async with _opened(settings) as wiring:
        deleted = await _find(wiring, deletion)
        outcome = await undelete(wiring.broker, deletion)
    return deleted, outcome.progress is not Progress.ACCEPTED


async def purge_instance(settings: Settings, deletion: UUID) -> DeletedInstance:
    """Drop the data of a deleted instance for good.

    Raises:
        BrokerError: There is no such data, or its server is out of reach; then it is marked, and
            dropped later by the periodic work.
    """
    async with _opened(settings) as wiring:
        deleted = await _find(wiring, deletion)
        await wiring.purge.one(deleted)
    return deleted


def instances_table(found: Sequence[tuple[Instance, int]], catalog: Catalog) -> Table:
    """Return a table with a line for each instance."""
    columns = ("instance", "platform", "place", "plan", "server", "database", "bindings", "status")
    table = Table(*columns, box=None, pad_edge=False)
    for instance, bindings in found:
        document = instance_document(instance, bindings, catalog)
        table.add_row(*(Text(str(document[column])) for column in ("instance_id", *columns[1:])))
    return table


def instance_document(instance: Instance, bindings: int, catalog: Catalog) -> dict[str, Any]:
    """Return what programs get to know of an instance."""
    plan = catalog.find_plan(instance.service_id, instance.plan_id)
    return {
        "platform": instance.key.platform,
        "instance_id": instance.key.instance_id,
        "name": instance.context.get("instance_name"),
        "place": _place(instance),
        "service_id": instance.service_id,
        "plan_id": instance.plan_id,
        "plan": plan.name if plan else f"{instance.plan_id} (gone)",
        "server": instance.server,
        "database": instance.database,
        "owner": instance.owner,
        "bindings": bindings,
        "status": instance.status.value,
        "storage": instance.storage.value,
        "created_at": instance.created_at.isoformat(),
    }


def _place(instance: Instance) -> str:
    """Return where on its platform an instance is, as the platform's people call it."""
    context = instance.context
    named = [context.get(name) for name in ("organization_name", "space_name", "namespace")]
    guids = (instance.organization_guid, instance.space_guid)
    return "/".join(str(part) for part in named if part) or "/".join(filter(None, guids))


def deleted_table(deleted: Sequence[DeletedInstance], catalog: Catalog) -> Table:
    """Return a table with a line for each deleted instance."""
    columns = ("id", "platform", "instance", "plan", "server", "deleted", "kept until", "state")
    table = Table(*columns, box=None, pad_edge=False)
    for one in deleted:
        document = deleted_document(one, catalog)
        table.add_row(
            document["id"],
            document["platform"],
            document["instance_id"],
            document["plan"],
            document["server"],
            _minute(one.deleted_at),
            _minute(one.purge_at),
            document["state"],
        )
    return table


def deleted_document(deleted: DeletedInstance, catalog: Catalog) -> dict[str, Any]:
    """Return what programs get to know of a deleted instance."""
    former = deleted.instance
    plan = catalog.find_plan(former.service_id, former.plan_id)
    moved = deleted.stage is Stage.RETAINED or deleted.stage is Stage.PURGING
    return {
        "id": str(deleted.id),
        "platform": former.key.platform,
        "instance_id": former.key.instance_id,
        "service_id": former.service_id,
        "plan_id": former.plan_id,
        "plan": plan.name if plan else former.plan_id,
        "server": former.server,
        "database": retained_name(former.database) if moved else former.database,
        "deleted_at": deleted.deleted_at.isoformat(),
        "purge_at": deleted.purge_at.isoformat(),
        "state": deleted.stage.value,
    }


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


async def _find(wiring: Wiring, deletion: UUID) -> DeletedInstance:
    deleted = await wiring.store.deleted.find(deletion)
    if deleted is None:
        raise NotFound(
            f"No deleted instance with the id {deletion} is kept; see: pgbroker instances deleted"
        )
    return deleted


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Wiring]:
    wiring = wire(settings)
    async with wiring.opened():
        await wiring.store.check()
        await wiring.store.verify_keys()
        yield wiring
