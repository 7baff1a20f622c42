"""Placement: which server a new database goes to.

Belongs here: what a server may hold, what it has promised, and the choice among servers. Pure
decisions; who counts and who asks is elsewhere.

A plan's limits are promises: a server that holds ten databases of a plan with 20 connections has
promised 200, whatever is in use at the moment. A capacity that is not configured limits nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from broker.domain.errors import PoolExhausted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from broker.domain.catalog import Catalog, Plan


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a server may hold; ``None`` is no limit.

    Attributes:
        databases: How many.
        connections: The sum of its databases' connection limits.
        storage: Bytes: the sum of its databases' storage limits, or what is in use if that is more.
    """

    databases: int | None = None
    connections: int | None = None
    storage: int | None = None

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for limit in (self.databases, self.connections, self.storage))


@dataclass(frozen=True, slots=True)
class Use:
    """What databases take of a server, or what one more would take.

    Attributes:
        databases: How many.
        connections: Promised.
        storage: Bytes promised.
    """

    databases: int = 0
    connections: int = 0
    storage: int = 0

    def __add__(self, other: Use) -> Use:
        return Use(
            self.databases + other.databases,
            self.connections + other.connections,
            self.storage + other.storage,
        )

    @classmethod
    def of(cls, plan: Plan, *, databases: int = 1, promises: int | None = None) -> Use:
        """Return what databases of a plan take.

        Args:
            plan: Its limits are promised to each.
            databases: How many.
            promises: How often the limits are promised, if not once for each.
        """
        times = databases if promises is None else promises
        storage = plan.limits.storage or 0
        return cls(databases, times * plan.limits.connections, times * storage)


@dataclass(frozen=True, slots=True)
class Placed:
    """Databases of one plan on one server, as the state counts them.

    Attributes:
        server: The server's name.
        service_id: The offering.
        plan_id: The plan.
        databases: How many, in any status: being created, being deleted and kept after deletion
            included.
        promises: How often the plan's limits are promised: once for each database, and once for
            each that is being updated to this plan, or restored from it to another one.
    """

    server: str
    service_id: str
    plan_id: str
    databases: int
    promises: int


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What the state knows of all servers.

    Attributes:
        placed: What is on them.
        cordoned: The names of those that get no new databases.
    """

    placed: tuple[Placed, ...] = ()
    cordoned: frozenset[str] = frozenset()

    def without(self, databases: Iterable[tuple[str, str, str]]) -> Occupancy:
        """Return this without some databases.

        Args:
            databases: The server, the offering and the plan of each.
        """
        gone = (Placed(*of, databases=-1, promises=-1) for of in databases)
        return replace(self, placed=(*self.placed, *gone))

    def use(self, catalog: Catalog) -> dict[str, Use]:
        """Return what is taken of each server, by its name.

        Databases whose plan has left the catalog count as databases; what they were promised is
        not known any more.
        """
        total: dict[str, Use] = {}
        for placed in self.placed:
            plan = catalog.find_plan(placed.service_id, placed.plan_id)
            taken = (
                Use(placed.databases)
                if plan is None
                else Use.of(plan, databases=placed.databases, promises=placed.promises)
            )
            total[placed.server] = total.get(placed.server, Use()) + taken
        return total


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a server says of itself.

    Attributes:
        version: For people, such as ``17.2``.
        connection_slots: How many sessions tenants can have at once.
    """

    version: str
    connection_slots: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server as the choice sees it.

    Attributes:
        name: The server's name.
        capacity: What it may hold.
        use: What it holds.
        labels: The operator's.
        cordoned: It gets no new databases.
        reachable: ``False`` when it did not answer the last time it was asked.
        connection_slots: What it really has, if it was asked already: not a limit, for plans may
            promise more than is ever used at once, but a reason to prefer another server.
    """

    name: str
    capacity: Capacity = field(default_factory=Capacity)
    use: Use = field(default_factory=Use)
    labels: Mapping[str, str] = field(default_factory=dict)
    cordoned: bool = False
    reachable: bool = True
    connection_slots: int | None = None


class Obstacle(Enum):
    """Why a server cannot take a database; the value completes "N ..."."""

    LABELS = "without the labels that the plan requires"
    CORDONED = "closed to new databases by the operator"
    DATABASES = "with no room for another database"
    CONNECTIONS = "with too few connections left to promise"
    STORAGE = "with too little storage left to promise"


def obstacle(candidate: Candidate, plan: Plan, demand: Use | None = None) -> Obstacle | None:
    """Say why a server cannot take a new database of a plan; ``None`` when it can.

    Args:
        candidate: The server.
        plan: The database's plan.
        demand: What the database takes, if not just what the plan promises.
    """
    if not has_labels(candidate.labels, plan):
        return Obstacle.LABELS
    if candidate.cordoned:
        return Obstacle.CORDONED
    return _lack(candidate, demand or Use.of(plan))


def growth_obstacle(candidate: Candidate, before: Plan | None, after: Plan) -> Obstacle | None:
    """Say why a database on a server cannot move to another plan there; ``None`` when it can.

    Args:
        candidate: The server it is on.
        before: Its plan, if the catalog still has it.
        after: The plan it shall have.
    """
    if not has_labels(candidate.labels, after):
        return Obstacle.LABELS
    old, new = Use() if before is None else Use.of(before), Use.of(after)
    growth = Use(0, max(0, new.connections - old.connections), max(0, new.storage - old.storage))
    return _lack(candidate, growth)


def has_labels(labels: Mapping[str, str], plan: Plan) -> bool:
    """Tell whether a server with these labels has all that a plan requires."""
    return all(labels.get(name) == value for name, value in plan.server_labels.items())


def choose(candidates: Sequence[Candidate], plan: Plan, demand: Use | None = None) -> str:
    """Choose the server for a new database of a plan.

    It is the one that would be least full in what it is fullest of; of equals, the one with the
    fewest databases. One that did not answer the last time is chosen only when no other has room.

    Args:
        candidates: The servers of the plan's pool.
        plan: The plan of the database that is to be placed.
        demand: What it takes, if not just what the plan promises.

    Raises:
        PoolExhausted: No server can take it; the description says why.
    """
    if not candidates:
        raise PoolExhausted(
            f"The pool {plan.pool!r} of the plan {plan.name!r} has no servers; the operator of "
            "this broker has to add one."
        )
    demand = demand or Use.of(plan)
    obstacles = {candidate.name: obstacle(candidate, plan, demand) for candidate in candidates}
    fit = [candidate for candidate in candidates if obstacles[candidate.name] is None]
    if not fit:
        raise PoolExhausted(_exhausted(plan, [found for found in obstacles.values() if found]))
    return min(fit, key=lambda candidate: _preference(candidate, demand)).name


def _preference(candidate: Candidate, demand: Use) -> tuple[bool, float, int]:
    after, capacity = candidate.use + demand, candidate.capacity
    connections = (
        candidate.connection_slots if capacity.connections is None else capacity.connections
    )
    shares = [
        taken / limit
        for taken, limit in (
            (after.databases, capacity.databases),
            (after.connections, connections),
            (after.storage, capacity.storage),
        )
        if limit
    ]
    return not candidate.reachable, max(shares, default=0.0), after.databases


def _lack(candidate: Candidate, demand: Use) -> Obstacle | None:
    use, capacity = candidate.use, candidate.capacity
    for taken, wanted, limit, found in (
        (use.databases, demand.databases, capacity.databases, Obstacle.DATABASES),
        (use.connections, demand.connections, capacity.connections, Obstacle.CONNECTIONS),
        (use.storage, demand.storage, capacity.storage, Obstacle.STORAGE),
    ):
        # What asks for nothing more is not refused for what was promised before.
        if limit is not None and wanted and taken + wanted > limit:
            return found
    return None


def _exhausted(plan: Plan, obstacles: Iterable[Obstacle]) -> str:
    counted = Counter(obstacles)
    reasons = ", ".join(
        f"{counted[reason]} {reason.value}" for reason in Obstacle if counted[reason]
    )
    full = not counted.keys() & {Obstacle.LABELS, Obstacle.CORDONED}
    way_out = "delete a service instance, or ask" if full else "ask"
    return (
        f"No server of the pool {plan.pool!r} can take another database of the plan "
        f"{plan.name!r}: {'it is full' if full else 'none is free'} (servers: {reasons}). "
        f"To go on, {way_out} the operator of this broker to add a server or to make room."
    )
