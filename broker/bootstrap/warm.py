"""The warm stock, for ``pgbroker warm``."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

from broker.bootstrap.fleet import operated
from broker.bootstrap.reconciliation import reconciler_of
from broker.bootstrap.servers import find_server
from broker.bootstrap.upkeep import warm_stock
from broker.domain.warm import WarmState, superfluous
from broker.service.spares import drop_unknown_spares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.config import Settings
    from broker.service.spares import SparesReport


@dataclass(frozen=True, slots=True)
class Shelf:
    """The stock of one plan on one server.

    Attributes:
        server: The server's name.
        plan: The plan's name, or its id when it has left the catalog.
        plan_id: Its id.
        wanted: How many there should be.
        ready: How many an instance can take.
        outdated: How many are not what the plan is now, and will be dropped.
        making: How many are being made.
        releasing: How many are being dropped.
    """

    server: str
    plan: str
    plan_id: str
    wanted: int
    ready: int
    outdated: int
    making: int
    releasing: int


async def shelves(settings: Settings) -> list[Shelf]:
    """Return the stock of each plan that wants one on each of its servers, then whatever else is.

    Raises:
        StateUnavailable: The state database cannot be reached.
    """
    async with operated(settings) as (fleet, store):
        stock = await store.warm.listed()
        wanted = warm_stock(settings, store, fleet.servers).wanted
    catalog, servers = settings.catalog, fleet.servers
    plans = {plan.id: plan for offering in catalog.offerings for plan in offering.plans}
    places = dict.fromkeys(
        (server, plan.id)
        for plan in plans.values()
        if plan.warm
        for server in servers.suitable(plan, with_away=True)
    ) | dict.fromkeys(
        (warm.server, warm.plan_id) for warm in stock if warm.state is not WarmState.CLAIMED
    )
    outdated = {warm.database for warm in superfluous(stock, wanted)}
    found = Counter(
        (warm.server, warm.plan_id, warm.state, warm.database in outdated) for warm in stock
    )
    return [
        Shelf(
            server=server,
            plan=plans[plan_id].name if plan_id in plans else plan_id,
            plan_id=plan_id,
            wanted=plans[plan_id].warm if plan_id in plans else 0,
            ready=found[server, plan_id, WarmState.READY, False],
            outdated=found[server, plan_id, WarmState.READY, True],
            making=found[server, plan_id, WarmState.MAKING, False],
            releasing=found[server, plan_id, WarmState.RELEASING, False],
        )
        for server, plan_id in places
    ]


async def release(settings: Settings, *, server: str | None) -> tuple[int, int]:
    """Drop what is ready; brokers that serve make it anew as long as the catalog wants it.

    Args:
        settings: The broker's.
        server: Only on this one; ``None`` is all.

    Returns:
        How many were dropped, and how many could not be, and will be later.

    Raises:
        NotFound: There is no server of that name.
        StateUnavailable: The state database cannot be reached.
    """
    if server is not None:
        find_server(settings.servers, server)
    async with operated(settings) as (fleet, store):
        released = [
            warm
            for warm in await store.warm.listed()
            if warm.state is WarmState.READY
            and server in {None, warm.server}
            and await store.warm.release(warm)
        ]
        gone = await warm_stock(settings, store, fleet.servers).drop(released)
    return len(gone), len(released) - len(gone)


async def release_unknown(settings: Settings, *, server: str | None) -> SparesReport:
    """Drop the databases of a former stock that no record knows.

    Args:
        settings: The broker's.
        server: Only on this one; ``None`` is all.

    Raises:
        NotFound: There is no server of that name.
        StateUnavailable: The state database cannot be reached.
    """
    if server is not None:
        find_server(settings.servers, server)
    async with operated(settings) as (fleet, store):
        await store.verify_keys()
        reconciler = reconciler_of(settings, fleet, store)
        return await drop_unknown_spares(
            reconciler, reconciler.engines if server is None else [server]
        )


def shelves_table(found: Sequence[Shelf]) -> Table:
    """Return a line for each plan on each server."""
    columns = ("server", "plan", "wanted", "ready", "outdated", "making", "releasing")
    table = Table(*columns, box=None, pad_edge=False)
    for shelf in found:
        table.add_row(*(str(getattr(shelf, column)) for column in columns))
    return table


def shelves_data(found: Sequence[Shelf]) -> list[dict[str, Any]]:
    """Return the same for a program."""
    return [asdict(shelf) for shelf in found]
