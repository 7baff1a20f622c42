"""Fetching (OSB API 2.17, "Fetching a Service Instance", "Fetching a Service Binding")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.catalog import BIG, OTHER_SERVICE, SERVICE, SMALL
from tests.support.platform import new_id

if TYPE_CHECKING:
    from tests.support.platform import Platform

pytestmark = pytest.mark.usefixtures("unchanged")


@pytest.mark.parametrize("query", ["", f"?service_id={SERVICE}&plan_id={SMALL}", "?unknown=1"])
def test_an_instance_is_fetched(
    kubernetes: Platform, existing: tuple[str, str], query: str
) -> None:
    """An instance tells its service, plan, parameters and maintenance version."""
    fetched = kubernetes.fetch(existing[0], query=query)
    assert fetched.status_code == 200
    assert fetched.json() == {
        "service_id": SERVICE,
        "plan_id": SMALL,
        "parameters": {},
        "maintenance_info": {"version": "1.2.3"},
    }


@pytest.mark.parametrize("query", ["", f"?service_id={SERVICE}&plan_id={SMALL}"])
def test_a_binding_is_fetched(kubernetes: Platform, existing: tuple[str, str], query: str) -> None:
    """A binding tells what the bind told, and its parameters."""
    fetched = kubernetes.fetch(*existing, query=query)
    assert fetched.status_code == 200
    assert fetched.json() == {**kubernetes.bind(*existing).json(), "parameters": {}}


@pytest.mark.parametrize(
    "query",
    [f"?service_id={OTHER_SERVICE}", f"?plan_id={BIG}", "?plan_id=", "?service_id=%00"],
)
def test_a_wrong_hint_is_refused(
    kubernetes: Platform, existing: tuple[str, str], query: str
) -> None:
    """A hint that contradicts what is stored is a bad request."""
    assert kubernetes.fetch(existing[0], query=query).status_code == 400
    assert kubernetes.fetch(*existing, query=query).status_code == 400


def test_what_is_not_there_is_not_found(kubernetes: Platform, existing: tuple[str, str]) -> None:
    """An unknown instance, binding, or binding of another instance is 404."""
    instance, binding = existing
    assert kubernetes.fetch(new_id()).status_code == 404
    assert kubernetes.fetch(instance, new_id()).status_code == 404
    assert kubernetes.fetch(new_id(), binding).status_code == 404
