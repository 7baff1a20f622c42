"""What servers hold and could hold, and which get no more: for ``pgbroker servers``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.bootstrap.fleet import operated
from broker.bootstrap.servers import find_server
from broker.domain.drain import Resident, plan_moves
from broker.domain.errors import BrokerError
from broker.domain.names import retained_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.bootstrap.fleet import Fleet
    from broker.config import Settings
    from broker.domain.drain import Move
    from broker.domain.placement import Candidate, Use, Vitals
    from broker.store.servers import Cordon


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known about one server.

    Attributes:
        server: Its capacity, use and labels.
        pool: What plans choose by; ``None`` when it is no longer in the servers file.
        vitals: What it says of itself; ``None`` when it does not answer.
        cordon: Since when and why it gets no new databases, if so.
        unreachable_because: In the driver's words; ``None`` when it answers.
    """

    server: Candidate
    pool: str | None
    vitals: Vitals | None
    cordon: Cordon | None
    unreachable_because: str | None


@dataclass(frozen=True, slots=True)
class Drain:
    """What emptying a server would take.

    Attributes:
        server: Its name.
        moves: One for each instance on it.
        added: What each other server would get, by name.
    """

    server: str
    moves: tuple[Move, ...]
    added: dict[str, Use]

    @property
    def fits(self) -> bool:
        """Whether there is a place for everything."""
        return all(move.target is not None for move in self.moves)


async def survey(settings: Settings) -> list[Survey]:
    """Look at all servers, in the order of the servers file.

    Raises:
        StateUnavailable: The state database cannot be reached.
    """
    pools = {server.name: server.pool for server in settings.servers}
    async with operated(settings) as (fleet, store):
        occupancy, cordons = await store.servers.occupancy(), await store.servers.cordons()
        await fleet.look()
        return [
            Survey(
                server,
                pools.get(server.name),
                fleet.servers.vitals(server.name),
                cordons.get(server.name),
                fleet.servers.why_unreachable(server.name),
            )
            for server in fleet.servers.candidates(occupancy, with_unknown=True)
        ]


async def cordon(settings: Settings, name: str, reason: str | None) -> None:
    """Let a server get no new databases.

    Raises:
        NotFound: There is no server of that name.
        StateUnavailable: The state database cannot be reached.
    """
    find_server(settings.servers, name)
    async with operated(settings) as (_, store):
        await store.servers.cordon(name, reason)


async def uncordon(settings: Settings, name: str) -> bool:
    """Let a server get new databases again; ``False`` when it got them all the time.

    Raises:
        NotFound: There is no server of that name, nor was there.
        StateUnavailable: The state database cannot be reached.
    """
    async with operated(settings) as (_, store):
        was_cordoned = await store.servers.uncordon(name)
    if not was_cordoned:
        find_server(settings.servers, name)
    return was_cordoned


async def plan_drain(settings: Settings, name: str) -> Drain:
    """Find a place for everything on a server; nothing is moved.

    Raises:
        NotFound: There is no server of that name.
        StateUnavailable: The state database cannot be reached.
    """
    find_server(settings.servers, name)
    async with operated(settings) as (fleet, store):
        occupancy = await store.servers.occupancy()
        found = [
            *((instance, False) for instance in await store.servers.residents(name)),
            *((instance, True) for instance in await store.servers.kept(name)),
        ]
        await fleet.look()
        sizes = await _sizes(fleet, name)
        pools = {
            pool: [
                candidate
                for candidate in fleet.servers.candidates(occupancy, pool=pool)
                if candidate.name != name and candidate.reachable
            ]
            for pool in {server.pool for server in settings.servers}
        }
    residents = [
        Resident(
            instance,
            settings.catalog.find_plan(instance.service_id, instance.plan_id),
            sizes.get(retained_name(instance.database) if deleted else instance.database),
            deleted=deleted,
        )
        for instance, deleted in found
    ]
    moves = plan_moves(residents, pools)
    return Drain(name, tuple(moves), _added(moves))


async def _sizes(fleet: Fleet, server: str) -> Mapping[str, int]:
    try:
        return await fleet.servers.engine(server).sizes()
    except BrokerError:
        # It is down: then the plans have to do.
        return {}


def _added(moves: Iterable[Move]) -> dict[str, Use]:
    added: dict[str, Use] = {}
    for move in moves:
        if move.target is not None:
            taken = move.resident.demand
            added[move.target] = added[move.target] + taken if move.target in added else taken
    return added
