"""Draining: where the databases of a server could go, if it had to be emptied.

Belongs here: the plan. Nothing is moved by it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from broker.domain.errors import PoolExhausted
from broker.domain.placement import Use, choose

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from broker.domain.catalog import Plan
    from broker.domain.instance import Instance
    from broker.domain.placement import Candidate


@dataclass(frozen=True, slots=True)
class Resident:
    """An instance on the server that is to be emptied.

    Attributes:
        instance: The instance.
        plan: Its plan, if the catalog still has it.
        size: Bytes it occupies, if that could be found out.
        deleted: It is deleted, and its database is kept for a while.
    """

    instance: Instance
    plan: Plan | None
    size: int | None
    deleted: bool = False

    @property
    def demand(self) -> Use:
        """What it takes of a server."""
        promised = Use(1) if self.plan is None else Use.of(self.plan)
        return replace(promised, storage=max(promised.storage, self.size or 0))


@dataclass(frozen=True, slots=True)
class Move:
    """Where one instance would go.

    Attributes:
        resident: The instance.
        target: The other server's name; ``None`` when it fits nowhere.
        reason: Why it fits nowhere.
    """

    resident: Resident
    target: str | None
    reason: str | None = None


def plan_moves(
    residents: Iterable[Resident], pools: Mapping[str, Sequence[Candidate]]
) -> list[Move]:
    """Find a place for everything on a server, the largest first.

    What does not fit is left out of account for what comes after it, so that as much as possible
    is placed.

    Args:
        residents: What is to be moved.
        pools: The other servers, by pool.
    """
    use: dict[str, Use] = {}
    moves = []
    for resident in sorted(residents, key=_order, reverse=True):
        plan = resident.plan
        if plan is None:
            moves.append(Move(resident, None, "Its plan is no longer in the catalog."))
            continue
        if not pools.get(plan.pool):
            moves.append(Move(resident, None, f"No other server is in the pool {plan.pool!r}."))
            continue
        candidates = [
            replace(candidate, use=candidate.use + use.get(candidate.name, Use()))
            for candidate in pools[plan.pool]
        ]
        try:
            target = choose(candidates, plan, resident.demand)
        except PoolExhausted as exc:
            moves.append(Move(resident, None, exc.description))
        else:
            use[target] = use.get(target, Use()) + resident.demand
            moves.append(Move(resident, target))
    return moves


def _order(resident: Resident) -> tuple[int, int]:
    return resident.demand.storage, resident.demand.connections
