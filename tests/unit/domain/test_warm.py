"""What is in the warm stock, what it suits, and what is to be made and dropped."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from broker.domain import warm
from broker.domain.catalog import Extensions, Plan
from broker.domain.parameters import InstanceParameters
from broker.domain.warm import WarmDatabase, WarmState
from tests.unit.domain.examples import KEY, PLAN

WARM_PLAN = replace(PLAN, warm=2)
PRINT = warm.fingerprint(WARM_PLAN, "k1")


def _one(name: str = "d1", state: WarmState = WarmState.READY, **fields: Any) -> WarmDatabase:
    made = WarmDatabase(name, "alpha", "service-id", WARM_PLAN.id, PRINT, "tag", state)
    return replace(made, **fields)


@pytest.mark.parametrize(
    "changed",
    [
        replace(WARM_PLAN, limits=replace(PLAN.limits, connections=6)),
        replace(WARM_PLAN, limits=replace(PLAN.limits, statement_timeout=timedelta(seconds=9))),
        replace(WARM_PLAN, limits=replace(PLAN.limits, temp_file_limit=1024)),
        replace(WARM_PLAN, extensions=Extensions(("citext", "hstore"), ("citext", "hstore"))),
        replace(WARM_PLAN, id="another-id"),
    ],
)
def test_what_is_made_otherwise_has_another_fingerprint(changed: Plan) -> None:
    """Whatever of a plan is set on a database itself distinguishes it."""
    assert warm.fingerprint(changed, "k1") != PRINT


def test_a_fingerprint_is_of_its_key_and_not_of_what_bindings_get() -> None:
    """A database fits whatever a login may do, and an instance's tags are of one key."""
    limits = replace(PLAN.limits, connections_per_binding=1, storage=None)
    assert warm.fingerprint(replace(WARM_PLAN, limits=limits, warm=9), "k1") == PRINT
    assert warm.fingerprint(WARM_PLAN, "k2") != PRINT


@pytest.mark.parametrize(
    ("parameters", "suited"),
    [
        ({}, True),
        ({"init-db-args": "--data-checksums"}, True),
        ({"extensions": ["hstore"]}, True),
        ({"init-db-args": "--encoding=UTF8"}, False),
        ({"init-db-args": ["--no-locale"]}, False),
        ({"restore_from_instance": "former"}, False),
    ],
)
def test_what_a_database_of_the_stock_suits(parameters: dict[str, object], suited: bool) -> None:
    """All that can still be given to a database, and nothing that CREATE DATABASE fixes."""
    assert warm.suits(InstanceParameters.parse(parameters)) is suited


def test_one_more_is_made_until_there_are_enough() -> None:
    """Only what is ready and as the plan is now counts, and only on this server."""

    def missing(*stock: WarmDatabase) -> bool:
        return warm.missing(stock, WARM_PLAN, server="alpha", fingerprint=PRINT)

    outdated, elsewhere = _one(fingerprint="old"), _one(server="beta")
    assert missing()
    assert missing(_one(), outdated, elsewhere, _one(state=WarmState.RELEASING))
    assert not missing(_one(), _one("d2"))


def test_one_is_made_at_a_time() -> None:
    """Whichever plan it is for, another one on the same server waits for its end."""
    making = _one(state=WarmState.MAKING, plan_id="another-id", fingerprint="another")
    assert not warm.missing([making], WARM_PLAN, server="alpha", fingerprint=PRINT)
    assert warm.missing([making], WARM_PLAN, server="beta", fingerprint=PRINT)


def test_what_nobody_wants_is_superfluous() -> None:
    """Outdated ones go, those of a place that wants none, and the newest of too many."""
    kept = [_one("d1"), _one("d2")]
    gone = [_one("d3"), _one("d4", fingerprint="old"), _one("d5", server="beta")]
    others = [_one("d6", state=WarmState.MAKING), _one("d7", state=WarmState.RELEASING)]
    found = warm.superfluous([*kept, *gone, *others], {("alpha", PRINT): 2})
    assert list(found) == gone


def test_what_was_begun_long_ago_may_have_been_left_behind() -> None:
    """What is released goes at once; what is being made gets its time, and what is ready stays."""
    old = warm.LEFT_AFTER + timedelta(seconds=1)
    left = [_one("d1", WarmState.RELEASING), _one("d2", WarmState.MAKING, age=old)]
    stays = [_one("d3", WarmState.MAKING), _one("d4", age=old)]
    assert list(warm.left_behind([*left, *stays])) == left


def test_a_tag_of_the_stock_is_no_instances() -> None:
    """What reads tags can tell the stock from every platform's instances."""
    assert warm.is_warm(warm.warm_key("d1"))
    assert not warm.is_warm(KEY)


def test_the_fewest_make_room() -> None:
    """The server that has to give up the least does, what is being dropped first.

    What is being made, and what an instance has, is not for the stock to give.
    """
    leaving = _one("d3", WarmState.RELEASING)
    stock = [
        _one("d0", WarmState.CLAIMED),
        _one("d1"),
        _one("d2", WarmState.MAKING),
        leaving,
        _one("d4"),
        _one("d5", server="b"),
    ]

    def after(alpha: int, beta: int) -> list[str]:
        needed = {"alpha": alpha, "b": beta}
        found = warm.fewest(stock, lambda server, gone: len(gone) >= needed[server])
        return [one.database for one in found]

    assert after(1, 9) == ["d3"]
    assert after(2, 9) == ["d3", "d1"]
    assert after(2, 1) == ["d5"]
    assert after(4, 2) == []
    assert list(warm.fewest([], lambda _server, _gone: True)) == []
