"""The records of deleted instances: their statements, and what runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, func, insert, or_, select, true, union_all, update

from broker.domain.deleted import DeletedInstance, Stage
from broker.domain.instance import Status
from broker.store import rows
from broker.store.tables import deleted_instances as table
from broker.store.tables import instances

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from broker.domain.instance import InstanceKey
    from broker.store.execution import Execute, Found, Row

_this = table.c.id == bindparam("key_id")
_of_platform = table.c.platform == bindparam("key_platform")
_FIND = select(table).where(_this)
_LOCK = _FIND.with_for_update()
_ATTACHED = (
    select(table)
    .where(_of_platform, table.c.attached == bindparam("key_instance_id"))
    .with_for_update()
)
_NEWEST = (
    select(table)
    .where(
        _of_platform,
        table.c.instance_id == bindparam("key_instance_id"),
        table.c.stage == Stage.RETAINED.value,
    )
    .order_by(table.c.deleted_at.desc())
    .limit(1)
)
_ALL = select(table).order_by(table.c.deleted_at, table.c.id)
_ranked = (
    select(
        table,
        func.row_number()
        .over(partition_by=table.c.server, order_by=(table.c.purge_at, table.c.id))
        .label("place"),
    )
    .where(
        or_(
            table.c.stage == Stage.PURGING.value,
            (table.c.stage == Stage.RETAINED.value) & (table.c.purge_at <= bindparam("now")),
        )
    )
    .subquery()
)
_DUE = select(_ranked).where(_ranked.c.place <= bindparam("per_server"))
_CLAIMED = union_all(
    *(
        select(true()).where(
            one.c.server == bindparam("key_server"), one.c.database == bindparam("key_database")
        )
        for one in (instances, table)
    )
)
_ADD = insert(table)
_SAVE = update(table).where(_this).values(stage=bindparam("stage"), attached=bindparam("attached"))
_SET_TAG_KEY = update(table).where(_this).values(tag_key_id=bindparam("new_tag_key_id"))
_REMOVE = delete(table).where(_this)


class DeletedInstances:
    """The records of deleted instances, read without locking them.

    Args:
        execute: Runs a statement.
    """

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    async def find(self, deletion: UUID) -> DeletedInstance | None:
        """Read one by its own id."""
        return _one(await self._execute(_FIND, {"key_id": deletion}))

    async def retained(self, former: InstanceKey) -> DeletedInstance | None:
        """Read the newest that is retained and was once called so."""
        return _one(await self._execute(_NEWEST, rows.instance_key(former)))

    async def listed(self) -> list[DeletedInstance]:
        """Read all, the oldest deletion first."""
        return [_record(row) for row in await self._execute(_ALL)]

    async def due(self, now: datetime, *, per_server: int) -> list[DeletedInstance]:
        """Read those to be dropped: whose time has passed, and whose dropping was begun.

        Args:
            now: The time.
            per_server: The most of one server, the longest overdue first.
        """
        found = await self._execute(_DUE, {"now": now, "per_server": per_server})
        return [_record(row) for row in found]


class DeletedInstancesTransaction:
    """The records of deleted instances, within a transaction on the state.

    Args:
        execute: Runs a statement in it.
    """

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    async def lock(self, deletion: UUID) -> DeletedInstance | None:
        """Read one by its own id and lock it until the transaction ends."""
        return _one(await self._execute(_LOCK, {"key_id": deletion}))

    async def attached(self, key: InstanceKey) -> DeletedInstance | None:
        """Read and lock the one that goes with an instance record."""
        return _one(await self._execute(_ATTACHED, rows.instance_key(key)))

    async def claimed(self, server: str, database: str) -> bool:
        """Tell whether an instance, or a deleted one, has a database."""
        found = await self._execute(_CLAIMED, {"key_server": server, "key_database": database})
        return found.first() is not None

    async def add(self, deleted: DeletedInstance) -> None:
        """Insert one."""
        former = rows.instance_values(deleted.instance)
        del former["status"], former["storage"]
        values = {
            **former,
            "id": deleted.id,
            "deleted_at": deleted.deleted_at,
            "purge_at": deleted.purge_at,
            "stage": deleted.stage.value,
            "attached": deleted.attached,
        }
        await self._execute(_ADD, values)

    async def set_tag_key(self, deletion: UUID, key_id: str) -> None:
        """Record the key that its tags are made with from now on."""
        await self._execute(_SET_TAG_KEY, {"key_id": deletion, "new_tag_key_id": key_id})

    async def save(self, deleted: DeletedInstance) -> None:
        """Overwrite the stage of one, and what it is attached to."""
        values = {
            "key_id": deleted.id,
            "stage": deleted.stage.value,
            "attached": deleted.attached,
        }
        await self._execute(_SAVE, values)

    async def remove(self, deletion: UUID) -> None:
        """Delete one."""
        await self._execute(_REMOVE, {"key_id": deletion})


def _one(found: Found) -> DeletedInstance | None:
    row = found.one_or_none()
    return None if row is None else _record(row)


def _record(row: Row) -> DeletedInstance:
    return DeletedInstance(
        id=row.id,
        # Only what was finished is kept when it is deleted.
        instance=rows.to_instance(row, Status.READY),
        deleted_at=row.deleted_at,
        purge_at=row.purge_at,
        stage=Stage(row.stage),
        attached=row.attached,
    )
