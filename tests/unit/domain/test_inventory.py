"""What the state holds that no file knows."""

from __future__ import annotations

from broker.domain.catalog import Catalog, Offering
from broker.domain.inventory import (
    InstanceCount,
    Traits,
    one_server,
    without_plan,
    without_platform,
)
from tests.unit.domain.examples import INSTANCE, PLAN

CATALOG = Catalog((Offering(INSTANCE.service_id, "databases", "Some.", (PLAN,)),))
COUNTS = [
    InstanceCount("kubernetes", INSTANCE.service_id, PLAN.id, 1),
    InstanceCount("kubernetes", INSTANCE.service_id, "gone", 2),
    InstanceCount("default", INSTANCE.service_id, "gone", 3),
    InstanceCount("default", "another offering", PLAN.id, 4),
]


def test_plans_that_the_catalog_lacks_are_counted() -> None:
    """By the plan's id, over all platforms; a plan of another offering is none."""
    assert without_plan(COUNTS, CATALOG) == {"gone": 5, PLAN.id: 4}


def test_platforms_that_are_not_configured_are_counted() -> None:
    """By their names, over all plans."""
    assert without_platform(COUNTS, ["kubernetes"]) == {"default": 7}
    assert without_platform(COUNTS, ["kubernetes", "default"]) == {}


def test_names_of_one_server_are_found() -> None:
    """Those that say they are the same are one; the others are told apart."""
    here, there = Traits("here", frozenset()), Traits("there", frozenset())
    assert one_server({"one": here, "two": there, "three": here}) == [["one", "three"]]
    assert one_server({"one": here, "two": there}) == []
