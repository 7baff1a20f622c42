"""Which server a new database goes to."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.catalog import Catalog, Offering
from broker.domain.errors import PoolExhausted
from broker.domain.placement import (
    Candidate,
    Capacity,
    Obstacle,
    Occupancy,
    Placed,
    Use,
    choose,
    growth_obstacle,
    obstacle,
)
from tests.unit.domain.examples import BIG, PLAN

CATALOG = Catalog((Offering("service-id", "service", "Databases.", (PLAN, BIG)),))
LARGE = replace(BIG, limits=replace(BIG.limits, connections=8, storage=1500))
LABELLED = replace(PLAN, server_labels={"disk": "nvme", "zone": "a"})


def test_of_equal_servers_the_one_with_the_fewest_databases_is_chosen() -> None:
    """Without any limit, databases are spread."""
    crowded, quiet = Candidate("a", use=Use(7)), Candidate("b", use=Use(3))
    assert choose([crowded, quiet], PLAN) == "b"


@pytest.mark.parametrize(
    ("capacity", "roomy", "tight"),
    [
        (Capacity(databases=10), Use(2), Use(8)),
        (Capacity(connections=100), Use(9, 20), Use(1, 80)),
        (Capacity(storage=100_000), Use(9, 0, 20_000), Use(1, 0, 80_000)),
        (Capacity(10, 100, 100_000), Use(6, 60, 60_000), Use(1, 1, 80_000)),
    ],
)
def test_the_emptiest_server_is_chosen_by_its_fullest_part(
    capacity: Capacity, roomy: Use, tight: Use
) -> None:
    """What would run out first decides, whatever else there is plenty of."""
    servers = [Candidate("tight", capacity, tight), Candidate("roomy", capacity, roomy)]
    assert choose(servers, PLAN) == "roomy"


def test_a_larger_server_gets_more() -> None:
    """Shares count, not numbers."""
    small = Candidate("small", Capacity(databases=10), Use(5))
    large = Candidate("large", Capacity(databases=100), Use(20))
    assert choose([small, large], PLAN) == "large"


def test_real_connection_slots_weigh_but_do_not_refuse() -> None:
    """Plans may promise more than a server has, and still the emptier server is preferred."""
    few = Candidate("few", use=Use(1, 100), connection_slots=97)
    many = Candidate("many", use=Use(2, 100), connection_slots=297)
    assert choose([few, many], PLAN) == "many"
    assert choose([few], PLAN) == "few"


def test_a_server_that_does_not_answer_is_the_last_resort() -> None:
    """It gets a database only when no other server has room: it may be back by then."""
    away, full = Candidate("away", reachable=False), Candidate("full", Capacity(1), Use(1))
    assert choose([away, Candidate("there", use=Use(500))], PLAN) == "there"
    assert choose([away, full], PLAN) == "away"


@pytest.mark.parametrize(
    ("candidate", "expected"),
    [
        (Candidate("s", labels={"disk": "nvme", "zone": "a", "more": "x"}), None),
        (Candidate("s"), Obstacle.LABELS),
        (Candidate("s", labels={"disk": "nvme", "zone": "b"}), Obstacle.LABELS),
        (Candidate("s", labels=LABELLED.server_labels, cordoned=True), Obstacle.CORDONED),
    ],
)
def test_labels_and_cordons_keep_databases_away(
    candidate: Candidate, expected: Obstacle | None
) -> None:
    """A server needs every label of the plan, and no cordon."""
    assert obstacle(candidate, LABELLED) is expected


@pytest.mark.parametrize(
    ("capacity", "use", "expected"),
    [
        (Capacity(databases=3), Use(2), None),
        (Capacity(databases=3), Use(3), Obstacle.DATABASES),
        (Capacity(databases=0), Use(), Obstacle.DATABASES),
        (Capacity(connections=15), Use(2, 10), None),
        (Capacity(connections=14), Use(2, 10), Obstacle.CONNECTIONS),
        (Capacity(storage=3000), Use(2, 0, 2000), None),
        (Capacity(storage=2999), Use(2, 0, 2000), Obstacle.STORAGE),
    ],
)
def test_a_capacity_is_used_up_and_never_exceeded(
    capacity: Capacity, use: Use, expected: Obstacle | None
) -> None:
    """The last place that fits exactly is given away, one more is not."""
    assert obstacle(Candidate("s", capacity, use), PLAN) is expected


@given(
    st.lists(
        st.builds(
            Capacity,
            st.none() | st.integers(0, 5),
            st.none() | st.integers(0, 30),
            st.none() | st.integers(0, 6000),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_filling_a_pool_exceeds_no_capacity(capacities: list[Capacity]) -> None:
    """Whatever is placed one after the other, no server holds more than it may."""
    use = {str(number): Use() for number in range(len(capacities))}
    for _ in range(30):
        servers = [
            Candidate(name, capacity, use[name])
            for (name, capacity) in zip(use, capacities, strict=True)
        ]
        try:
            chosen = choose(servers, PLAN)
        except PoolExhausted:
            break
        use[chosen] += Use.of(PLAN)
    for taken, capacity in zip(use.values(), capacities, strict=True):
        assert taken.databases <= (30 if capacity.databases is None else capacity.databases)
        assert taken.connections <= (150 if capacity.connections is None else capacity.connections)
        assert taken.storage <= (30_000 if capacity.storage is None else capacity.storage)


def test_a_full_pool_says_why() -> None:
    """The user learns what is missing and what to do; no server is named."""
    servers = [
        Candidate("secret-1", Capacity(databases=1), Use(1)),
        Candidate("secret-2", Capacity(databases=2), Use(2)),
        Candidate("secret-3", Capacity(connections=4)),
    ]
    with pytest.raises(PoolExhausted) as full:
        choose(servers, PLAN)
    text = full.value.description
    assert "'default'" in text
    assert "'small'" in text
    assert "2 with no room for another database, 1 with too few connections left" in text
    assert "delete a service instance, or ask the operator" in text
    assert "secret" not in text


def test_an_empty_pool_and_a_cordoned_one_say_so() -> None:
    """Where deleting would not help, nobody is told to."""
    with pytest.raises(PoolExhausted, match="has no servers; the operator"):
        choose([], PLAN)
    with pytest.raises(PoolExhausted, match="1 closed to new databases") as closed:
        choose([Candidate("a", cordoned=True)], PLAN)
    assert "delete" not in closed.value.description


@pytest.mark.parametrize(
    ("capacity", "use", "expected"),
    [
        (Capacity(databases=1), Use(1), None),
        (Capacity(connections=13), Use(1, 10), None),
        (Capacity(connections=12), Use(1, 10), Obstacle.CONNECTIONS),
        (Capacity(storage=2500), Use(1, 0, 2000), None),
        (Capacity(storage=2499), Use(1, 0, 2000), Obstacle.STORAGE),
    ],
)
def test_a_larger_plan_needs_what_it_promises_more(
    capacity: Capacity, use: Use, expected: Obstacle | None
) -> None:
    """A change of plan takes the difference, and no place of another database."""
    assert growth_obstacle(Candidate("s", capacity, use), PLAN, LARGE) is expected


def test_a_smaller_plan_fits_a_server_that_is_too_full() -> None:
    """Whoever asks for less is not refused for what was promised before a capacity shrank."""
    overfull = Candidate("s", Capacity(1, 1, 1), Use(9, 90, 9000), cordoned=True)
    assert growth_obstacle(overfull, LARGE, PLAN) is None
    assert growth_obstacle(overfull, PLAN, LABELLED) is Obstacle.LABELS
    assert growth_obstacle(overfull, None, PLAN) is Obstacle.CONNECTIONS


def test_use_follows_the_plans_of_what_is_placed() -> None:
    """Limits are promised once for each database, once more for each update to the plan."""
    occupancy = Occupancy(
        (
            Placed("a", "service-id", "small-id", 2, 2),
            Placed("a", "service-id", "big-id", 0, 1),
            Placed("b", "service-id", "gone-id", 3, 3),
        )
    )
    assert occupancy.use(CATALOG) == {"a": Use(2, 15, 3000), "b": Use(3)}
