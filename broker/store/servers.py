"""What the state knows about servers: what is on them, and which get no more.

Belongs here: those statements, and what runs them. Which servers there are is in the servers file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Text,
    bindparam,
    cast,
    delete,
    func,
    literal,
    null,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import insert

from broker.domain.instance import Status
from broker.domain.operation import OperationKind, OperationState
from broker.domain.placement import Occupancy, Placed
from broker.domain.warm import WarmState
from broker.store import rows
from broker.store.tables import (
    SCHEMA,
    deleted_instances,
    instances,
    operations,
    server_cordons,
    server_use,
    warm_databases,
)

if TYPE_CHECKING:
    from datetime import datetime

    from broker.domain.instance import Instance
    from broker.store.execution import Execute, Found

LOCK_PLACEMENT = select(func.pg_advisory_xact_lock(func.hashtextextended(f"{SCHEMA} placement", 0)))

_nobody = cast(null(), Text)
_none = literal(0, BigInteger)
_on_servers = select(
    instances.c.server,
    instances.c.service_id,
    instances.c.plan_id,
    func.count().label("databases"),
    func.count().label("promises"),
).group_by(instances.c.server, instances.c.service_id, instances.c.plan_id)
# Both plans count while an update is under way: it may succeed, and it may fail.
_wanted = operations.c.target_plan_id
_updating = (
    select(instances.c.server, instances.c.service_id, _wanted, _none, func.count())
    .join_from(
        operations,
        instances,
        (instances.c.platform == operations.c.platform)
        & (instances.c.instance_id == operations.c.instance_id),
    )
    .where(
        operations.c.state == OperationState.IN_PROGRESS.value,
        operations.c.kind == OperationKind.UPDATE.value,
        instances.c.plan_id != _wanted,
    )
    .group_by(instances.c.server, instances.c.service_id, _wanted)
)
# Kept after its deletion; while it is moved, the instance record that goes with it counts.
_kept = (
    select(
        deleted_instances.c.server,
        deleted_instances.c.service_id,
        deleted_instances.c.plan_id,
        func.count(),
        func.count(),
    )
    .where(deleted_instances.c.attached.is_(None))
    .group_by(
        deleted_instances.c.server, deleted_instances.c.service_id, deleted_instances.c.plan_id
    )
)
# Restored into another plan, it may end up under its former one again: both plans count.
_moved = (
    select(
        deleted_instances.c.server,
        deleted_instances.c.service_id,
        deleted_instances.c.plan_id,
        _none,
        func.count(),
    )
    .join_from(
        deleted_instances,
        instances,
        (instances.c.platform == deleted_instances.c.platform)
        & (instances.c.instance_id == deleted_instances.c.attached),
    )
    .where(instances.c.plan_id != deleted_instances.c.plan_id)
    .group_by(
        deleted_instances.c.server, deleted_instances.c.service_id, deleted_instances.c.plan_id
    )
)
CORDONED = select(
    server_cordons.c.server,
    _nobody.label("service_id"),
    _nobody.label("plan_id"),
    _none.label("databases"),
    _none.label("promises"),
)
_warm = (
    select(
        warm_databases.c.server,
        warm_databases.c.service_id,
        warm_databases.c.plan_id,
        func.count(),
        func.count(),
    )
    # Where an instance has it, the instance counts.
    .where(warm_databases.c.state != WarmState.CLAIMED.value)
    .group_by(warm_databases.c.server, warm_databases.c.service_id, warm_databases.c.plan_id)
)
# One statement for all that a placement has to know. Whatever else takes room on servers is one
# more part of it, with the plan that its room was promised by.
OCCUPANCY = union_all(_on_servers, _updating, _kept, _moved, _warm, CORDONED)

_MEASURED = select(server_use.c.server, server_use.c.used)
_RESIDENTS = (
    select(instances)
    .where(instances.c.server == bindparam("key_server"))
    .order_by(instances.c.platform, instances.c.instance_id)
)
_KEPT_ON = (
    select(deleted_instances)
    .where(
        deleted_instances.c.server == bindparam("key_server"),
        deleted_instances.c.attached.is_(None),
    )
    .order_by(deleted_instances.c.platform, deleted_instances.c.instance_id)
)
_CORDONS = select(server_cordons).order_by(server_cordons.c.server)
_CORDON = (
    insert(server_cordons)
    .values(
        server=bindparam("server"),
        reason=bindparam("reason"),
        cordoned_at=func.clock_timestamp(),
    )
    .on_conflict_do_update(
        index_elements=server_cordons.primary_key, set_={"reason": bindparam("reason")}
    )
)
_UNCORDON = (
    delete(server_cordons)
    .where(server_cordons.c.server == bindparam("key_server"))
    .returning(true())
)


@dataclass(frozen=True, slots=True)
class Cordon:
    """A server that gets no new databases.

    Attributes:
        server: Its name.
        reason: For the operator's colleagues.
        since: When it was cordoned first.
    """

    server: str
    reason: str | None
    since: datetime


def occupancy(found: Found) -> Occupancy:
    """Build what the statement ``OCCUPANCY`` has found."""
    placed: list[Placed] = []
    cordoned: set[str] = set()
    for row in found.mappings():
        if row["service_id"] is None:
            cordoned.add(row["server"])
        else:
            placed.append(Placed(**row))
    return Occupancy(tuple(placed), frozenset(cordoned))


class ServerRecords:
    """The records of servers; every method is one statement, and may be repeated.

    Args:
        execute: Runs a statement.
    """

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    async def occupancy(self) -> Occupancy:
        """Count what is on each server, and read which servers are cordoned."""
        return occupancy(await self._execute(OCCUPANCY))

    async def measured(self) -> dict[str, int]:
        """Read what all databases of each server occupied when last measured, in bytes."""
        return {row.server: row.used for row in await self._execute(_MEASURED)}

    async def residents(self, server: str) -> list[Instance]:
        """Read the instances on a server."""
        found = await self._execute(_RESIDENTS, {"key_server": server})
        return [rows.to_instance(row) for row in found]

    async def kept(self, server: str) -> list[Instance]:
        """Read the deleted instances whose databases are kept on a server."""
        found = await self._execute(_KEPT_ON, {"key_server": server})
        return [rows.to_instance(row, Status.DELETING) for row in found]

    async def cordons(self) -> dict[str, Cordon]:
        """Read which servers get no new databases, by name."""
        return {
            row.server: Cordon(row.server, row.reason, row.cordoned_at)
            for row in await self._execute(_CORDONS)
        }

    async def cordon(self, server: str, reason: str | None) -> None:
        """Let a server get no new databases; a new reason replaces the old one."""
        await self._execute(_CORDON, {"server": server, "reason": reason})

    async def uncordon(self, server: str) -> bool:
        """Let a server get new databases again; ``False`` when it was not cordoned."""
        return (await self._execute(_UNCORDON, {"key_server": server})).one_or_none() is not None
