"""What is measured, in order."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self

import httpx
import uvloop

from benchmarks.client import BrokerClient
from benchmarks.load import get, load
from benchmarks.raw import RawClient, use
from benchmarks.recorded import RecordingClient
from benchmarks.report import BESIDE_RECORDED
from benchmarks.series import Row, Series
from benchmarks.warm import measure_warm

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.place import Place

VERBS = ("provision", "bind", "unbind", "deprovision")
_CATALOG = "/v2/catalog"


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured.

    Attributes:
        catalog_seconds: For each number of connections.
        connections: Numbers of connections.
        rounds: How often each verb is measured.
        warm_rounds: How often the warm stock is claimed.
        life_seconds: How long lives are begun, for each number of clients and each way.
        clients: Numbers of clients.
    """

    catalog_seconds: float
    connections: tuple[int, ...]
    rounds: int
    warm_rounds: int
    life_seconds: float
    clients: tuple[int, ...]

    @classmethod
    def full(cls) -> Self:
        """Return what takes four minutes."""
        return cls(5.0, (16, 64), 100, 6, 16.0, (1, 8, 32))

    @classmethod
    def quick(cls) -> Self:
        """Return what takes less than half a minute, for a first look."""
        return cls(2.0, (32,), 8, 1, 1.5, (1, 8, 32))

    @property
    def parts(self) -> int:
        """How many parts there are to report the progress of."""
        return len(self.connections) + 1 + self.rounds + self.warm_rounds + 6 * len(self.clients)


class _Client(Protocol):
    """Makes and removes one database at a time, one way or the other."""

    async def provision(self) -> None: ...
    async def bind(self) -> Mapping[str, str]: ...
    async def unbind(self) -> None: ...
    async def deprovision(self) -> None: ...
    async def close(self) -> None: ...


async def measure(place: Place, extent: Extent, doing: Callable[[str], None]) -> list[Row]:
    """Measure everything.

    Args:
        place: Where.
        extent: How much.
        doing: Called with the name of each part before it begins.
    """
    return [
        *await _catalog(place, extent, doing),
        *await measure_verbs(place, extent.rounds, doing),
        await measure_warm(place, extent.warm_rounds, doing),
        *[
            row
            for clients in extent.clients
            for row in await _lives(place, clients, extent.life_seconds, doing)
        ],
    ]


async def _catalog(place: Place, extent: Extent, doing: Callable[[str], None]) -> list[Row]:
    """Measure how many catalogs a second one process serves, with authentication."""
    async with httpx.AsyncClient(base_url=f"http://{place.headers['Host']}") as http:
        etag = (await http.get(_CATALOG, headers=dict(place.headers))).headers["ETag"]
    known = {**place.headers, "If-None-Match": etag}
    cases = [(f"catalog, {n} connections", place.headers, 200, n) for n in extent.connections]
    most = extent.connections[-1]
    cases.append((f"catalog unchanged (304), {most} connections", known, 304, most))
    rows = []
    for name, sent, status, connections in cases:
        doing(name)
        work = load(
            *place.broker_address,
            get(_CATALOG, sent),
            status=status,
            connections=connections,
            seconds=extent.catalog_seconds,
        )
        # A loop of its own: uvloop is quick enough, but cannot start PostgreSQL as another user.
        series = await asyncio.to_thread(uvloop.run, work)
        rows.append(Row(name, series, paced=True))
    return rows


async def measure_verbs(
    place: Place, rounds: int, doing: Callable[[str], None], circumstance: str = ""
) -> list[Row]:
    """Measure each verb, one client, by turns with and without the broker.

    Args:
        place: Where.
        rounds: How often.
        doing: Called with the name of each part before it begins.
        circumstance: Put behind the name of each verb.
    """
    measured: dict[str, tuple[Series, Series]] = {verb: (Series(), Series()) for verb in VERBS}
    broker, raw = await BrokerClient.connected(place), await RawClient.connected(place)
    try:
        # The first time fills caches and pools.
        await _verb_by_verb(broker, [Series() for _ in VERBS])
        await _verb_by_verb(raw, [Series() for _ in VERBS])
        for number in range(rounds):
            doing(f"the four verbs{circumstance}: {number + 1} of {rounds}")
            turns: list[tuple[_Client, int]] = [(broker, 0), (raw, 1)]
            for client, way in turns if number % 2 else reversed(turns):
                await _verb_by_verb(client, [measured[verb][way] for verb in VERBS])
    finally:
        await broker.close()
        await raw.close()
    return [Row(verb + circumstance, *measured[verb], by_turns=True) for verb in VERBS]


async def _verb_by_verb(client: _Client, series: list[Series]) -> None:
    for verb, times in zip(VERBS, series, strict=True):
        with times.measured():
            await getattr(client, verb)()


async def _lives(
    place: Place, clients: int, seconds: float, doing: Callable[[str], None]
) -> list[Row]:
    """Measure whole lives, also beside SQL by hand that keeps the same records."""
    name = _life(clients)
    kinds = (BrokerClient, RawClient, RecordingClient)
    broker, raw, recorded = await _live_by_turns(
        place, clients, kinds, seconds, lambda kind: doing(f"{name}: {kind}")
    )
    return [
        Row(name, broker, raw, paced=True),
        Row(f"{name}, {BESIDE_RECORDED}", broker, recorded, paced=True),
    ]


async def measure_lives(
    place: Place,
    clients: int,
    seconds: float,
    doing: Callable[[str], None],
    circumstance: str = "",
) -> Row:
    """Measure whole lives, by several clients at a time.

    Args:
        place: Where.
        clients: How many.
        seconds: How long lives are begun, each way.
        doing: Called with the name of each part before it begins.
        circumstance: Put behind the name.
    """
    name = _life(clients) + circumstance
    kinds = (BrokerClient, RawClient)
    broker, raw = await _live_by_turns(
        place, clients, kinds, seconds, lambda kind: doing(f"{name}: {kind}")
    )
    return Row(name, broker, raw, paced=True)


def _life(clients: int) -> str:
    return f"whole life, {clients} client{'s' if clients > 1 else ''}"


async def _live_by_turns(
    place: Place,
    clients: int,
    kinds: Sequence[type[BrokerClient | RawClient | RecordingClient]],
    seconds: float,
    doing: Callable[[str], None],
) -> list[Series]:
    """Live in each way twice, by turns: there, and back again."""
    series = {kind: Series() for kind in kinds}
    for kind in (*kinds, *reversed(kinds)):
        doing(kind.__name__)
        at_work = [await kind.connected(place) for _ in range(clients)]
        await _all_live(at_work, series[kind], seconds / 2)
    return list(series.values())


async def _all_live(clients: Sequence[_Client], series: Series, seconds: float) -> None:
    """Begin lives for some seconds, and add them to a series."""
    began = time.perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(_live(client, series, until=began + seconds))
    finally:
        for client in clients:
            await client.close()
    series.elapsed += time.perf_counter() - began


async def _live(client: _Client, series: Series, *, until: float) -> None:
    while time.perf_counter() < until:
        with series.measured():
            await client.provision()
            await use(await client.bind())
            await client.unbind()
            await client.deprovision()
