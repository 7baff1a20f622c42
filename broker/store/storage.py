"""What databases occupy: the statements, and what runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, DateTime, Text, bindparam, exists, func, select, true, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from broker.domain.instance import InstanceKey, Status
from broker.domain.names import is_database_name
from broker.domain.storage import StorageState, StorageUse
from broker.service.storage import StoredInstance
from broker.store import rows
from broker.store.tables import instances, server_use, storage_use

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from broker.store.execution import Execute, Row

_BATCH = 1000

_key = (storage_use.c.platform == bindparam("key_platform")) & (
    storage_use.c.instance_id == bindparam("key_instance_id")
)
_joined = instances.outerjoin(
    storage_use,
    (storage_use.c.platform == instances.c.platform)
    & (storage_use.c.instance_id == instances.c.instance_id),
)
_READY = (
    select(
        instances.c.platform,
        instances.c.instance_id,
        instances.c.service_id,
        instances.c.plan_id,
        instances.c.server,
        instances.c.database,
        instances.c.storage,
        storage_use.c.used,
        storage_use.c.measured_at,
        storage_use.c.writes_allowed_until,
    )
    .select_from(_joined)
    .where(instances.c.status == Status.READY.value)
    .order_by(instances.c.platform, instances.c.instance_id)
)
_OF = select(storage_use).where(_key)
_measured = (
    func.unnest(
        bindparam("databases", type_=ARRAY(Text)), bindparam("sizes", type_=ARRAY(BigInteger))
    )
    .table_valued("database", "used", name="measured")
    .render_derived()
)
_new = insert(storage_use).from_select(
    ["platform", "instance_id", "used", "measured_at"],
    select(
        instances.c.platform,
        instances.c.instance_id,
        _measured.c.used,
        bindparam("now", type_=DateTime(timezone=True)),
    )
    .join_from(instances, _measured, instances.c.database == _measured.c.database)
    .where(instances.c.server == bindparam("server"))
    # What is being deleted is left out: waiting for it would end in a violated foreign key.
    .with_for_update(of=instances, key_share=True, read=True, skip_locked=True),
)
_RECORD = _new.on_conflict_do_update(
    index_elements=storage_use.primary_key,
    set_={"used": _new.excluded.used, "measured_at": _new.excluded.measured_at},
)
_of_server = insert(server_use).values(
    server=bindparam("server"),
    used=bindparam("used", type_=BigInteger),
    measured_at=bindparam("now", type_=DateTime(timezone=True)),
)
_RECORD_TOTAL = _of_server.on_conflict_do_update(
    index_elements=server_use.primary_key,
    set_={"used": _of_server.excluded.used, "measured_at": _of_server.excluded.measured_at},
)
_ALLOW_WRITES = (
    update(storage_use)
    .where(_key)
    .values(writes_allowed_until=bindparam("until", type_=DateTime(timezone=True)))
    .returning(true())
)
_RESTRICTED = select(
    exists(select(instances.c.platform).where(instances.c.storage != StorageState.WITHIN.value))
)


class StorageRecords:
    """The measurements (``broker.service.storage.StorageRecords``).

    Args:
        execute: Runs a statement that may be repeated.
    """

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    async def anything_restricted(self) -> bool:
        """Tell whether some instance is full, or about to be released."""
        return bool((await self._execute(_RESTRICTED)).one()[0])

    async def ready(self) -> Sequence[StoredInstance]:
        """Read all finished instances with their last measurements."""
        return [
            StoredInstance(
                key=InstanceKey(row.platform, row.instance_id),
                service_id=row.service_id,
                plan_id=row.plan_id,
                server=row.server,
                database=row.database,
                storage=StorageState(row.storage),
                use=_to_use(row),
            )
            for row in await self._execute(_READY)
        ]

    async def of(self, key: InstanceKey) -> StorageUse | None:
        """Read the last measurement of an instance, ``None`` when there is none yet."""
        row = (await self._execute(_OF, rows.instance_key(key))).one_or_none()
        return None if row is None else _to_use(row)

    async def record(self, server: str, sizes: Mapping[str, int], now: datetime) -> None:
        """Remember what databases of a server occupy, in bytes by name.

        Each instance's is remembered apart; all of them together are what the server is taken by,
        whosever they are, unless they bear no name of the broker's choice.
        """
        total = sum(used for name, used in sizes.items() if is_database_name(name))
        await self._execute(_RECORD_TOTAL, {"server": server, "used": total, "now": now})
        found = sorted(sizes.items())
        for start in range(0, len(found), _BATCH):
            names, used = zip(*found[start : start + _BATCH], strict=True)
            values = {"server": server, "databases": list(names), "sizes": list(used), "now": now}
            await self._execute(_RECORD, values)

    async def allow_writes(self, key: InstanceKey, until: datetime) -> bool:
        """Let an instance write over its limit; ``False`` when it was never measured."""
        values = rows.instance_key(key) | {"until": until}
        return (await self._execute(_ALLOW_WRITES, values)).one_or_none() is not None


def _to_use(row: Row) -> StorageUse | None:
    if row.measured_at is None:
        return None
    return StorageUse(row.used, row.measured_at, row.writes_allowed_until)
