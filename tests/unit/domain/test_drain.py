"""Where the databases of a server could go."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker.domain.drain import Resident, plan_moves
from broker.domain.instance import InstanceKey
from broker.domain.placement import Candidate, Capacity, Use
from tests.unit.domain.examples import INSTANCE, PLAN

if TYPE_CHECKING:
    from broker.domain.catalog import Plan


def _resident(name: str, size: int | None = None, plan: Plan | None = PLAN) -> Resident:
    return Resident(replace(INSTANCE, key=InstanceKey("kubernetes", name)), plan, size)


def test_the_largest_finds_a_place_first() -> None:
    """What is hard to place is placed while there is room; the rest is told what is missing."""
    target = Candidate("target", Capacity(storage=6000))
    moves = plan_moves([_resident("small"), _resident("huge", 5500)], {"default": [target]})
    assert [(move.resident.size, move.target) for move in moves] == [(5500, "target"), (None, None)]
    assert "too little storage" in (moves[1].reason or "")


def test_each_move_takes_its_room() -> None:
    """Several servers are filled together, and none beyond what it may hold."""
    servers = [
        Candidate("one", Capacity(databases=5), Use(4)),
        Candidate("two", Capacity(connections=14), Use(1, 4)),
        Candidate("cordoned", cordoned=True),
    ]
    moves = plan_moves([_resident(str(number)) for number in range(4)], {"default": servers})
    assert sorted(move.target or "" for move in moves) == ["", "one", "two", "two"]


def test_a_plan_that_is_gone_and_a_pool_that_is_gone_say_so() -> None:
    """What cannot be decided has a reason, and keeps nothing else from its place."""
    elsewhere = replace(PLAN, pool="elsewhere")
    moves = plan_moves(
        [_resident("a", plan=None), _resident("b", plan=elsewhere), _resident("c")],
        {"default": [Candidate("target")]},
    )
    reasons = {move.resident.instance.key.instance_id: move.reason for move in moves}
    assert "no longer in the catalog" in (reasons["a"] or "")
    assert reasons["b"] == "No other server is in the pool 'elsewhere'."
    assert reasons["c"] is None
