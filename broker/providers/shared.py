"""The provider ``shared``: a server out of a configured pool."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from broker.domain import placement
from broker.domain.errors import ServerUnavailable, UpdateRefused
from broker.domain.placement import Candidate, Capacity, Use
from broker.providers.watched import WatchedEngine

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.domain.catalog import Catalog, Plan
    from broker.domain.database import Endpoint
    from broker.domain.placement import Occupancy, Vitals
    from broker.service.ports import Engine


@dataclass(frozen=True, slots=True)
class SharedServer:
    """A configured server.

    Attributes:
        name: Recorded with every instance on it.
        pool: What plans choose by.
        endpoint: How tenants reach it.
        engine: What the broker does on it.
        capacity: What it may hold.
        labels: What plans may require.
    """

    name: str
    pool: str
    endpoint: Endpoint
    engine: Engine
    capacity: Capacity = field(default_factory=Capacity)
    labels: Mapping[str, str] = field(default_factory=dict)


class SharedServers:
    """The configured servers (``broker.service.ports.Servers``).

    Args:
        servers: In the order of the servers file.
        catalog: For what the plans of existing databases promise.
    """

    def __init__(self, servers: Iterable[SharedServer], catalog: Catalog) -> None:
        self._servers = {server.name: server for server in servers}
        self._catalog = catalog
        self._measured: dict[str, int] = {}
        self._engines = {
            name: WatchedEngine(name, server.engine) for name, server in self._servers.items()
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all of them."""
        return tuple(self._servers)

    def limited(self, plan: Plan) -> bool:
        """Tell whether a server of the plan's pool has a limited capacity."""
        return any(server.capacity.limited for server in self._pool(plan.pool))

    def suitable(self, plan: Plan, *, with_away: bool = False) -> tuple[str, ...]:
        """Return the servers that databases of a plan may be on.

        Args:
            plan: The databases' plan.
            with_away: Also those that do not answer.
        """
        return tuple(
            server.name
            for server in self._pool(plan.pool)
            if placement.has_labels(server.labels, plan)
            and (with_away or self._engines[server.name].reachable)
        )

    def reachable(self) -> dict[str, bool]:
        """Return whether each server answered this process the last time, by name."""
        return {name: engine.reachable for name, engine in self._engines.items()}

    def room(self, plan: Plan, occupancy: Occupancy) -> tuple[str, ...]:
        """Return the servers that could take one more database of a plan, and that answer.

        Args:
            plan: The database's plan.
            occupancy: What is on all servers.
        """
        return tuple(
            candidate.name
            for candidate in self.candidates(occupancy, pool=plan.pool)
            if candidate.reachable and placement.obstacle(candidate, plan) is None
        )

    def place(self, plan: Plan, occupancy: Occupancy) -> str:
        """Choose the server of the plan's pool that has the most room, see ``placement.choose``.

        Args:
            plan: Its pool is the one to choose from.
            occupancy: What is on all servers.

        Raises:
            PoolExhausted: No server of the pool can take it.
        """
        return placement.choose(self.candidates(occupancy, pool=plan.pool), plan)

    def check_growth(
        self, server: str, before: Plan | None, after: Plan, occupancy: Occupancy
    ) -> None:
        """Make sure that a database may move to another plan on its server.

        Args:
            server: The server it is on.
            before: Its plan, if the catalog still has it.
            after: The plan it shall have.
            occupancy: What is on all servers.

        Raises:
            UpdateRefused: The server lacks the plan's labels, or what the plan promises.
        """
        for candidate in self.candidates(occupancy):
            found = placement.growth_obstacle(candidate, before, after)
            if candidate.name == server and found is not None:
                raise UpdateRefused(
                    f"The server of this service instance is one {found.value}, so the instance "
                    f"cannot have the plan {after.name!r} there. Nothing has been changed. Make a "
                    "new service instance of that plan, or ask the operator of this broker.",
                    instance_usable=True,
                    update_repeatable=True,
                )

    def candidates(
        self, occupancy: Occupancy, *, pool: str | None = None, with_unknown: bool = False
    ) -> list[Candidate]:
        """Return the servers as the choice sees them.

        Args:
            occupancy: What is on all servers.
            pool: Only those of this pool.
            with_unknown: At the end also those that something is on, and that are no longer
                configured; they count as out of reach.
        """
        use = occupancy.use(self._catalog)
        # What was measured on a server that is gone from the file, and that nothing is on, is past.
        for name in self._measured.keys() & (use.keys() | self._servers.keys()):
            taken = use.get(name, Use())
            use[name] = replace(taken, storage=max(taken.storage, self._measured[name]))
        unknown = sorted(use.keys() - self._servers.keys()) if with_unknown else ()
        return [
            Candidate(
                name=server.name,
                capacity=server.capacity,
                use=use.get(server.name, Use()),
                labels=server.labels,
                cordoned=server.name in occupancy.cordoned,
                reachable=self._engines[server.name].reachable,
                connection_slots=_slots(self._engines[server.name].last_vitals),
            )
            for server in self._servers.values()
            if pool is None or server.pool == pool
        ] + [Candidate(name=name, use=use[name], reachable=False) for name in unknown]

    def vitals(self, server: str) -> Vitals | None:
        """Return what a server said when it was looked at; ``None`` when it does not answer."""
        engine = self._engines.get(server)
        return engine.last_vitals if engine is not None and engine.reachable else None

    def why_unreachable(self, server: str) -> str | None:
        """Return why a server could not be reached the last time, for the operator."""
        failure = self._engines[server].last_failure if server in self._engines else None
        return None if failure is None else failure.cause or failure.description

    def serves(self, plan: Plan, server: str) -> bool:
        """Tell whether a server is one of the plan's pool, with the labels it requires."""
        return any(
            member.name == server and placement.has_labels(member.labels, plan)
            for member in self._pool(plan.pool)
        )

    def engine(self, server: str) -> WatchedEngine:
        """Return the engine of a server.

        Raises:
            ServerUnavailable: The server is no longer configured.
        """
        self._find(server)
        return self._engines[server]

    def endpoint(self, server: str) -> Endpoint:
        """Return how tenants reach a server.

        Raises:
            ServerUnavailable: The server is no longer configured.
        """
        return self._find(server).endpoint

    def remember_sizes(self, measured: Mapping[str, int]) -> None:
        """Let what databases occupy count where it is more than what was promised.

        Args:
            measured: Bytes, by server name.
        """
        self._measured = dict(measured)

    async def look(self) -> None:
        """Ask all servers at once how they are."""
        await asyncio.gather(*(engine.look() for engine in self._engines.values()))

    def _pool(self, pool: str) -> list[SharedServer]:
        return [server for server in self._servers.values() if server.pool == pool]

    def _find(self, name: str) -> SharedServer:
        try:
            return self._servers[name]
        except KeyError:
            raise ServerUnavailable(
                f"The server {name!r} of this service instance is no longer in the broker's "
                "servers file; the operator has to put it back."
            ) from None


def _slots(vitals: Vitals | None) -> int | None:
    return None if vitals is None else vitals.connection_slots
