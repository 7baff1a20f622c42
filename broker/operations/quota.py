"""Storage limits, enforced by the periodic work: measure, decide, tell the server.

Belongs here: the order of things. That an instance is full is recorded before anything is done on
its server, and that it is not only afterwards, so that whoever comes after a crash finds out what
is left to do.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING

import structlog

from broker.domain.database import Access
from broker.domain.errors import BrokerError
from broker.domain.instance import Instance, Status
from broker.domain.storage import StorageState, StorageUse, next_state

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from broker.domain.catalog import Catalog
    from broker.domain.operation import Operation
    from broker.service.ports import Clock, DatabaseSession, Servers, Store
    from broker.service.storage import StorageRecords, StoredInstance

log = structlog.get_logger()


class _Overtaken(Exception):
    """Something else has changed the instance; the next measurement decides anew."""


@dataclass(frozen=True, slots=True)
class QuotaUpkeep:
    """Makes full databases read-only, and writable again; any replica may run it.

    Attributes:
        store: The state.
        records: The measurements.
        servers: For the engines.
        catalog: For the limits.
        clock: The time.
        always: Measure even when no plan has a limit: placement counts what is used.
        named: Servers to measure whether or not an instance is on them: what is kept of deleted
            ones takes room, too.
    """

    store: Store
    records: StorageRecords
    servers: Servers
    catalog: Catalog
    clock: Clock
    always: bool = False
    named: Collection[str] = ()

    async def run(self) -> list[str]:
        """Measure all databases, one query for each server, and enforce what follows.

        Returns:
            The servers that could not be measured; why is in the log.
        """
        limited = self.always or any(
            plan.limits.storage is not None
            for offering in self.catalog.offerings
            for plan in offering.plans
        )
        if not limited and not await self.records.anything_restricted():
            return []
        instances = sorted(await self.records.ready(), key=lambda instance: instance.server)
        by_server: dict[str, Sequence[StoredInstance]] = dict.fromkeys(self.named, ())
        by_server |= {
            server: tuple(group)
            for server, group in groupby(instances, key=lambda instance: instance.server)
        }
        # At once, so that a server that does not answer keeps nobody else's from being measured.
        ended = await asyncio.gather(
            *(self._enforce(server, group) for server, group in by_server.items()),
            return_exceptions=True,
        )
        for server, measured in zip(by_server, ended, strict=True):
            if isinstance(measured, BaseException):
                log.error("storage not measured", server=server, exc_info=measured)
        return [
            server
            for server, measured in zip(by_server, ended, strict=True)
            if measured is not True
        ]

    async def _enforce(self, server: str, instances: Sequence[StoredInstance]) -> bool:
        now = self.clock()
        try:
            sizes = await self.servers.engine(server).sizes()
            await self.records.record(server, sizes, now)
        except BrokerError as exc:
            log.warning("storage not measured", server=server, reason=exc.description)
            return False
        for instance in instances:
            used = sizes.get(instance.database)
            if used is None:
                continue  # being made or dropped, or missing: none of this module's business
            allowed = instance.use.writes_allowed_until if instance.use else None
            use = StorageUse(used, now, allowed)
            try:
                await self._settle(instance, use)
            except _Overtaken:
                continue
            except BrokerError as exc:
                log.warning(
                    "storage limit not enforced",
                    platform=instance.key.platform,
                    instance=instance.key.instance_id,
                    reason=exc.description,
                )
        return True

    async def _settle(self, found: StoredInstance, use: StorageUse) -> None:
        """Make one instance, and its server, what a measurement demands.

        Raises:
            _Overtaken: It has changed in the meantime.
        """
        plan = self.catalog.find_plan(found.service_id, found.plan_id)
        limit = plan.limits.storage if plan else None
        wanted = next_state(found.storage, use, limit=limit, now=use.measured_at)
        if wanted is StorageState.WITHIN:
            return
        instance, writers = await self._record(found, wanted)
        if wanted is not found.storage:
            log.warning(
                "database is full" if wanted is StorageState.FULL else "database is full no more",
                platform=found.key.platform,
                instance=found.key.instance_id,
                server=found.server,
                database=found.database,
                used=use.used,
                limit=limit,
            )

        async def confirm() -> None:
            async with self.store.transaction() as state:
                active = await state.active_operations(instance.key)
            # Asked first: what ends in between has changed the record by then.
            if _hinders(active, wanted) or await self.store.instance(instance.key) != instance:
                raise _Overtaken

        async def enforce(database: DatabaseSession) -> None:
            if wanted is StorageState.FULL:
                await database.forbid_writes(owner=instance.owner)
            else:
                await database.allow_writes(writers, owner=instance.owner)

        engine = self.servers.engine(instance.server)
        await engine.exclusively(instance.database, enforce, confirm=confirm)
        if wanted is StorageState.RELEASING:
            await self._record(replace(found, storage=wanted), StorageState.WITHIN)

    async def _record(
        self, found: StoredInstance, wanted: StorageState
    ) -> tuple[Instance, Sequence[str]]:
        """Write down what shall hold, and return the instance with its read-write logins.

        Raises:
            _Overtaken: It is not as it was found, or something is in progress on it that began
                with what held before.
        """
        async with self.store.transaction() as state:
            stored = await state.instance(found.key)
            if (
                stored is None
                or stored.status is not Status.READY
                or (stored.database, stored.plan_id, stored.storage)
                != (found.database, found.plan_id, found.storage)
            ):
                raise _Overtaken
            if _hinders(await state.active_operations(found.key), wanted):
                raise _Overtaken
            instance = replace(stored, storage=wanted)
            if instance != stored:
                await state.save_instance(instance)
            bindings = await state.bindings(found.key)
        return instance, [b.login for b in bindings if b.access is Access.WRITE]


def _hinders(active: Sequence[Operation], wanted: StorageState) -> bool:
    """Tell whether something is in progress that began with what held before.

    What a bind in progress lets in while the database is full, the next time puts right.
    """
    return any(o.binding_id is None or wanted is not StorageState.FULL for o in active)
