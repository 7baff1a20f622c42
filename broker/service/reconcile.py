"""Reconcile: compare the state, the servers and what is in progress; repair, close, or report.

Belongs here: the order in which one server is looked at. Every database is looked at under its
lock, after asking whether an operation is in progress: what is being worked on is not drift.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from broker.domain.database import tag_of
from broker.domain.deleted import Stage
from broker.domain.drift import Deviation, Drift, DriftKind
from broker.domain.errors import BrokerError
from broker.domain.names import retained_name
from broker.service.reconcile_database import CheckedDatabase, InProgress
from broker.service.reconcile_kept import KeptDatabase
from broker.service.reconcile_strangers import Strangers, find_strangers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from datetime import datetime

    from broker.domain.catalog import Catalog
    from broker.domain.instance import Instance
    from broker.domain.inventory import Inventory
    from broker.service.ports import Clock, DatabaseSession, Engine, Store, Tags

PAGE = 200
"""Instances read at a time."""

PATIENCE = 60.0
"""Seconds that one database may take; somebody may have its lock, and then it is not drift."""

BUDGET = 1200.0
"""Seconds that one server may take."""


@dataclass(frozen=True, slots=True)
class Reconciler:
    """What reconciling works with.

    Attributes:
        store: The state.
        engines: Of the configured servers, by name.
        catalog: The plans.
        tags: Made and opened with the configured keys.
        clock: The time.
    """

    store: Store
    engines: Mapping[str, Engine]
    catalog: Catalog
    tags: Tags
    clock: Clock


BUSY = "An operation is in progress."
"""Why a database was not compared that will be the next time."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What may be done about drift.

    Attributes:
        apply: Repair and quarantine; otherwise only report.
        quarantine_after: How long something must have been known to be unknown before it is
            closed. It gives an operator who has restored an old state the time to recover it.
        force: Quarantine even when more is unknown than known.
    """

    apply: bool
    quarantine_after: timedelta = timedelta(0)
    force: bool = False


@dataclass(slots=True)
class ServerReport:
    """What was found on one server.

    Attributes:
        server: Its name.
        drift: What is, or was, not as it should be.
        checked: How many instances were compared.
        skipped: Databases that were not, and why.
        unreadable: How many databases and roles have a tag of a key that is not configured, by the
            key's id. They may be another broker's.
        unknown_plans: How many instances have a plan that is not in the catalog, by the plan's id.
        failure: Why the server could not be looked at to the end.
    """

    server: str
    drift: list[Drift] = field(default_factory=list)
    checked: int = 0
    skipped: dict[str, str] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)
    unknown_plans: Counter[str] = field(default_factory=Counter)
    failure: str | None = None

    @property
    def clean(self) -> bool:
        """Whether nobody has to do anything about this server."""
        closed = {DriftKind.UNKNOWN_DATABASE, DriftKind.UNKNOWN_LOGIN}
        left = [d for d in self.drift if not d.resolved or d.deviation.kind in closed]
        missed = [why for why in self.skipped.values() if why != BUSY]
        return not left and not missed and self.failure is None


async def reconcile(reconciler: Reconciler, orders: Orders) -> list[ServerReport]:
    """Compare every server with the state, all servers at the same time.

    Returns:
        One report for each server, in the order of the servers file; what was found is recorded,
        too, for metrics.

    Raises:
        StateUnavailable: The state database cannot be reached.
    """
    return list(
        await asyncio.gather(
            *(_Pass(reconciler, orders, name).run() for name in reconciler.engines)
        )
    )


async def servers_without_entry(reconciler: Reconciler) -> list[ServerReport]:
    """Report the servers that instances are on and that nobody can look at.

    Raises:
        StateUnavailable: The state database cannot be reached.
    """
    return [
        ServerReport(
            server,
            failure=f"It is not in the servers file, and {total} instances are on it: nobody can "
            "use them. Put it back.",
        )
        for server, total in sorted((await reconciler.store.census.on_servers()).items())
        if server not in reconciler.engines
    ]


class _Pass:
    """One look at one server."""

    def __init__(self, reconciler: Reconciler, orders: Orders, server: str) -> None:
        self._with = reconciler
        self._orders = orders
        self._engine = reconciler.engines[server]
        self._report = ServerReport(server)
        self._since: Mapping[tuple[DriftKind, str], datetime] = {}

    async def run(self) -> ServerReport:
        report = self._report
        now = self._with.clock()
        try:
            async with asyncio.timeout(BUDGET):
                self._since = await self._with.store.drift.first_seen(report.server)
                inventory = await self._engine.inventory()
                known: set[str] = set()
                async for instance in self._instances():
                    known.add(instance.database)
                    if not self._with.catalog.find_plan(instance.service_id, instance.plan_id):
                        report.unknown_plans[instance.plan_id] += 1
                    await self._check(instance, inventory)
                await self._check_kept(inventory)
                await self._close(inventory, known)
        except BrokerError as exc:
            report.failure = exc.description
        except TimeoutError:
            report.failure = f"Not all of it could be looked at within {BUDGET:.0f} s."
        else:
            await self._with.store.drift.replace(
                report.server, report.drift, now, skipped=report.skipped
            )
        return report

    async def _instances(self) -> AsyncIterator[Instance]:
        after = ""
        while page := await self._with.store.census.instances(
            self._report.server, after=after, limit=PAGE
        ):
            for instance in page:
                yield instance
            after = page[-1].database

    async def _check(self, instance: Instance, inventory: Inventory) -> None:
        """Compare an instance with its database."""
        checked = CheckedDatabase(
            self._with.store.census,
            self._with.store,
            self._with.catalog,
            self._with.tags,
            instance=instance,
            inventory=inventory,
            apply=self._orders.apply,
            may_close=lambda login: self._has_waited(DriftKind.UNKNOWN_LOGIN, login),
        )
        if await self._exclusively(instance.database, checked.confirm, checked.work):
            self._report.checked += 1
            self._add(instance.database, checked.found, instance)

    async def _check_kept(self, inventory: Inventory) -> None:
        """See whether what is to be kept of deleted instances is there."""
        for deleted in await self._with.store.deleted.listed():
            former = deleted.instance
            if former.server != self._report.server or deleted.stage is not Stage.RETAINED:
                continue
            tag = self._with.tags.deleted(deleted.key, former.tag_key_id)
            seen = inventory.databases.get(retained_name(former.database))
            if seen is not None and seen.comment is not None and tag_of(seen.comment) == tag:
                continue
            kept = KeptDatabase(self._with.store, deleted, tag)
            if await self._exclusively(former.database, kept.confirm, kept.work):
                self._add(former.database, kept.found, former)

    async def _close(self, inventory: Inventory, known: set[str]) -> None:
        """See to what no record knows."""
        tags, store, report = self._with.tags, self._with.store, self._report
        strangers = await find_strangers(inventory, known, tags=tags, store=store)
        report.unreadable = strangers.unreadable
        lost = await self._looks_lost(strangers, inventory, known=len(known))
        for suspect in strangers.suspects:
            suspect.apply = self._orders.apply
            suspect.may_close = not lost and self._has_waited(
                DriftKind.UNKNOWN_DATABASE, suspect.name
            )
            if await self._exclusively(
                suspect.name, suspect.confirm, suspect.work, lock=suspect.lock
            ):
                self._add(suspect.name, suspect.found, None)

    async def _looks_lost(self, strangers: Strangers, inventory: Inventory, *, known: int) -> bool:
        """Tell whether it is rather the state that is wrong than the server; report it then."""
        if _count_open(strangers, inventory) <= known:
            return False
        # With few instances, those that were deleted since the server was listed are enough.
        unknown = _count_open(strangers, await self._engine.inventory())
        if unknown <= known:
            return False
        detail = (
            f"{unknown} open databases are unknown and {known} are known: the state looks lost. "
            "Run `pgbroker recover --from-servers`. Nothing is closed without --force."
        )
        deviation = Deviation(DriftKind.LOST_STATE, self._report.server, detail)
        self._report.drift.append(Drift(self._report.server, "", deviation))
        return not self._orders.force

    def _has_waited(self, kind: DriftKind, subject: str) -> bool:
        """Tell whether something has been known to be unknown for long enough to be closed."""
        now = self._with.clock()
        return now - self._since.get((kind, subject), now) >= self._orders.quarantine_after

    def _add(
        self, database: str, found: Sequence[tuple[Deviation, bool]], instance: Instance | None
    ) -> None:
        for deviation, resolved in found:
            drift = Drift(self._report.server, database, deviation, resolved=resolved)
            if instance is not None:
                key = instance.key
                drift = replace(drift, platform=key.platform, instance_id=key.instance_id)
            self._report.drift.append(drift)

    async def _exclusively(
        self,
        database: str,
        confirm: Callable[[], Awaitable[None]],
        work: Callable[[DatabaseSession], Awaitable[None]],
        *,
        lock: str | None = None,
    ) -> bool:
        """Work under the lock of a database; note why when that was not possible."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._engine.exclusively(lock or database, work, confirm=confirm)
        except InProgress:
            self._report.skipped[database] = BUSY
        except TimeoutError:
            self._report.skipped[database] = f"It took longer than {PATIENCE:.0f} s."
        except BrokerError as exc:
            self._report.skipped[database] = exc.description
        else:
            return True
        return False


def _count_open(strangers: Strangers, inventory: Inventory) -> int:
    # A spare one of the warm stock holds nothing, and cannot be recovered.
    return sum(s.is_open_in(inventory) and not s.is_spare for s in strangers.suspects)
