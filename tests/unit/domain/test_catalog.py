"""Looking things up in the catalog."""

from __future__ import annotations

import pytest

from broker.domain.catalog import Catalog, Offering
from broker.domain.errors import InvalidRequest
from tests.unit.domain.examples import BIG, PLAN

ONE = Offering(id="one-id", name="one", description="One.", plans=(PLAN,))
TWO = Offering(id="two-id", name="two", description="Two.", plans=(BIG,))
CATALOG = Catalog((ONE, TWO))


def test_a_plan_is_found_in_its_offering() -> None:
    """Ids lead to the offering and the plan."""
    assert CATALOG.offering("two-id") is TWO
    assert CATALOG.plan("one-id", PLAN.id) is PLAN
    assert CATALOG.find_plan("two-id", BIG.id) is BIG


@pytest.mark.parametrize("service_id", ["", "one", "ONE-ID", "three-id"])
def test_an_unknown_offering_is_refused(service_id: str) -> None:
    """Only an exact id will do, and the refusal says where to find one."""
    with pytest.raises(InvalidRequest, match="/v2/catalog"):
        CATALOG.offering(service_id)
    with pytest.raises(InvalidRequest, match="/v2/catalog"):
        CATALOG.plan(service_id, PLAN.id)
    assert CATALOG.find_plan(service_id, PLAN.id) is None


def test_a_plan_of_another_offering_is_refused() -> None:
    """A plan counts only within its own offering, which the refusal names."""
    with pytest.raises(InvalidRequest, match="'one'"):
        CATALOG.plan("one-id", BIG.id)
    assert CATALOG.find_plan("one-id", BIG.id) is None
