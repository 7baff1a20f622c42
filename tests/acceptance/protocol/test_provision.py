"""``PUT /v2/service_instances/:instance_id`` (OSB API 2.17, "Provisioning")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.catalog import BIG, OTHER_PLAN, OTHER_SERVICE, SERVICE, SLOW, SMALL
from tests.support.platform import new_id, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.application import Footprint
    from tests.support.platform import Platform

CONTEXT = {"platform": "kubernetes", "namespace": "default", "clusterid": "c", "extra": [1, {}]}
FULL: dict[str, Any] = {
    "context": CONTEXT,
    "organization_guid": "organization",
    "space_guid": "space",
    "parameters": {"extensions": ["hstore"]},
}


def test_a_replay_is_told_from_the_first_time(kubernetes: Platform) -> None:
    """The first request creates (201), the same again finds it there (200), both with ``{}``."""
    instance = new_id()
    first = kubernetes.provision(instance, **FULL)
    assert (first.status_code, first.json()) == (201, {})
    for _ in range(2):
        again = kubernetes.provision(instance, **FULL)
        assert (again.status_code, again.json()) == (200, {})


def test_a_replay_may_differ_where_it_does_not_matter(kubernetes: Platform) -> None:
    """Unknown fields, names in the context, the current maintenance version: the same request."""
    instance = new_id()
    assert kubernetes.provision(instance, **FULL).status_code == 201
    renamed = {**FULL, "context": {**CONTEXT, "instance_name": "new", "extra": None}}
    for fields in (
        renamed,
        {**FULL, "maintenance_info": {"version": "1.2.3", "description": "x"}},
        {**FULL, "vendor_extension": {"a": [1, 2, 3]}},
    ):
        assert kubernetes.provision(instance, **fields).status_code == 200
    assert kubernetes.provision(instance, query="?accepts_incomplete=true", **FULL).json() == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"plan_id": BIG},
        {"service_id": OTHER_SERVICE, "plan_id": OTHER_PLAN},
        {"parameters": {}},
        {"parameters": {"extensions": ["pg_trgm"]}},
        {"parameters": {"extensions": ["citext"]}},
        {"organization_guid": "other"},
        {"space_guid": "other"},
        {"context": {**CONTEXT, "namespace": "other"}},
    ],
)
def test_other_attributes_conflict(
    kubernetes: Platform, kept: Callable[[], Footprint], changes: dict[str, Any]
) -> None:
    """The same id with anything else that matters is 409, and the instance stays as it is."""
    instance = new_id()
    assert kubernetes.provision(instance, **FULL).status_code == 201
    before = kept()
    refused = kubernetes.provision(instance, **{**FULL, **changes})
    assert refused.status_code == 409
    assert "already exists" in refused.json()["description"]
    assert kept() == before


def test_a_replay_after_an_update_conflicts(kubernetes: Platform) -> None:
    """Once it was updated, the instance is not what the first request asked for any more."""
    instance = new_id()
    assert kubernetes.provision(instance, parameters={}).status_code == 201
    assert kubernetes.update(instance, plan_id=BIG).status_code == 200
    assert kubernetes.provision(instance, parameters={}).status_code == 409
    assert kubernetes.provision(instance, BIG, parameters={}).status_code == 200


@pytest.mark.usefixtures("unchanged")
def test_another_maintenance_version_is_refused(kubernetes: Platform) -> None:
    """A version that is not the catalog's is a ``MaintenanceInfoConflict``."""
    refused = kubernetes.provision(new_id(), maintenance_info={"version": "9.9.9"})
    assert refused.status_code == 422
    assert refused.json()["error"] == "MaintenanceInfoConflict"
    assert "1.2.3" in refused.json()["description"]


def test_another_maintenance_version_of_what_exists_is_refused(
    kubernetes: Platform, kept: Callable[[], Footprint]
) -> None:
    """Neither the catalog's nor the instance's: ``MaintenanceInfoConflict``, not a 409."""
    instance = new_id()
    assert kubernetes.provision(instance, **FULL).status_code == 201
    before = kept()
    refused = kubernetes.provision(instance, **FULL, maintenance_info={"version": "1.0.0"})
    assert (refused.status_code, refused.json()["error"]) == (422, "MaintenanceInfoConflict")
    assert kept() == before


def test_the_current_maintenance_version_is_accepted(kubernetes: Platform) -> None:
    """The catalog's version creates the instance, and is reported with it."""
    instance = new_id()
    made = kubernetes.provision(instance, maintenance_info={"version": "1.2.3"})
    assert made.status_code == 201
    assert kubernetes.fetch(instance).json()["maintenance_info"] == {"version": "1.2.3"}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("query", ["", "?accepts_incomplete=false"])
def test_a_slow_plan_needs_patience(kubernetes: Platform, query: str) -> None:
    """A plan that is never quick refuses callers that cannot wait with ``AsyncRequired``."""
    refused = kubernetes.provision(new_id(), SLOW, query=query)
    assert refused.status_code == 422
    assert refused.json()["error"] == "AsyncRequired"


@pytest.mark.parametrize(
    "instance", ["not-a-guid", "7", "a b", "ünïcödé-🐘", "%2F", "..", "%", "~._-", "x" * 255]
)
def test_ids_need_not_be_guids(kubernetes: Platform, instance: str) -> None:
    """Any id works through the whole life of an instance and its binding."""
    unique = f"{new_id()[:8]}{instance}"[:255]
    assert kubernetes.provision(unique).status_code == 201
    assert kubernetes.bind(unique, unique).status_code == 201
    assert kubernetes.fetch(unique, unique).status_code == 200
    assert kubernetes.unbind(unique, unique).status_code == 200
    assert kubernetes.deprovision(unique).status_code == 200


def test_options_of_initdb_reach_the_database(kubernetes: Platform) -> None:
    """``init-db-args`` decides the encoding and the locale, and asks for data checksums."""
    arguments = "--data-checksums --encoding=LATIN1 --locale=C"
    _, _, credentials = kubernetes.bound(parameters={"init-db-args": arguments})
    found = rows(
        credentials,
        "SELECT pg_encoding_to_char(encoding), datcollate, current_setting('data_checksums')"
        " FROM pg_database WHERE datname = current_database()",
    )
    assert found == [("LATIN1", "C", "on")]


def test_extensions_are_installed(kubernetes: Platform) -> None:
    """The plan's default extensions and the ones asked for are there."""
    _, _, credentials = kubernetes.bound(parameters={"extensions": ["hstore"]})
    found = rows(credentials, "SELECT extname FROM pg_extension ORDER BY 1")
    assert [name for (name,) in found] == ["citext", "hstore", "plpgsql"]


@pytest.mark.parametrize(
    "arguments", ["--locale=xx_XX.UTF-8", "--encoding=UTF9", "--encoding=EUC_JP --locale=C.UTF-8"]
)
def test_what_the_server_refuses_leaves_nothing_behind(
    kubernetes: Platform, kept: Callable[[], Footprint], arguments: str
) -> None:
    """A locale the server does not have is 422, and neither role nor database nor row is left."""
    instance, before = new_id(), kept()
    refused = kubernetes.provision(instance, parameters={"init-db-args": arguments})
    assert refused.status_code == 422
    assert set(refused.json()) == {"description"}
    assert kept().things() == before.things()
    assert kubernetes.fetch(instance).status_code == 404
    assert kubernetes.deprovision(instance).status_code == 410


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("service", "plan"),
    [
        (SERVICE, "no-such-plan"),
        ("no-such-service", SMALL),
        (OTHER_SERVICE, SMALL),
        (SERVICE, OTHER_PLAN),
        (SERVICE, "small"),
        (SERVICE, SMALL.upper()),
    ],
)
def test_what_is_not_in_the_catalog_is_refused(
    kubernetes: Platform, service: str, plan: str
) -> None:
    """Unknown, mismatched and merely similar ids are bad requests."""
    refused = kubernetes.provision(new_id(), plan, service_id=service)
    assert refused.status_code == 400
    assert "/v2/catalog" in refused.json()["description"]
