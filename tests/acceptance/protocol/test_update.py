"""``PATCH /v2/service_instances/:instance_id`` (OSB API 2.17, "Updating a Service Instance")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.support.catalog import BIG, ELSEWHERE, OTHER_PLAN, OTHER_SERVICE, SMALL, TINY
from tests.support.platform import new_id, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.application import Footprint
    from tests.support.platform import Platform
    from tests.support.postgres import PostgresServer

LIMIT = "SELECT datconnlimit FROM pg_database WHERE datname = current_database()"
LOGIN_LIMIT = "SELECT rolconnlimit FROM pg_roles WHERE rolname = session_user"
EXTENSIONS = "SELECT string_agg(extname, ' ' ORDER BY extname) FROM pg_extension"


def test_a_larger_plan_gives_more(kubernetes: Platform) -> None:
    """The limits of the new plan hold at once, for the database and for logins it has."""
    instance, _, credentials = kubernetes.bound()
    assert rows(credentials, LIMIT) == [(5,)]
    assert rows(credentials, LOGIN_LIMIT) == [(2,)]
    updated = kubernetes.update(instance, plan_id=BIG, previous_values={"plan_id": SMALL})
    assert (updated.status_code, updated.json()) == (200, {})
    assert rows(credentials, LIMIT) == [(10,)]
    assert rows(credentials, LOGIN_LIMIT) == [(5,)]
    fetched = kubernetes.fetch(instance).json()
    assert fetched["plan_id"] == BIG
    assert fetched["maintenance_info"] == {"version": "2.0.0"}


def test_the_same_update_again_changes_nothing(
    kubernetes: Platform, kept: Callable[[], Footprint]
) -> None:
    """A platform that missed the answer repeats the request, and gets it."""
    instance = kubernetes.provisioned()
    request: dict[str, Any] = {"plan_id": BIG, "previous_values": {"plan_id": SMALL}}
    assert kubernetes.update(instance, **request).status_code == 200
    before = kept()
    again = kubernetes.update(instance, **request)
    assert (again.status_code, again.json()) == (200, {})
    assert kept() == before


def test_a_platform_that_missed_the_answer_can_delete(kubernetes: Platform) -> None:
    """The plan before the update still does for reading and deleting; the new one, too."""
    instance, binding, _ = kubernetes.bound()
    assert kubernetes.update(instance, plan_id=BIG).status_code == 200
    assert kubernetes.fetch(instance, query=f"?plan_id={SMALL}").status_code == 200
    assert kubernetes.unbind(instance, binding, SMALL).status_code == 200
    assert kubernetes.deprovision(instance, SMALL).status_code == 200


def test_extensions_come_and_go(kubernetes: Platform) -> None:
    """What the parameter names is installed, what it names no more is dropped."""
    instance, _, credentials = kubernetes.bound(parameters={"extensions": ["hstore"]})
    assert rows(credentials, EXTENSIONS) == [("citext hstore plpgsql",)]
    changed = kubernetes.update(instance, parameters={"extensions": ["pg_trgm"]})
    assert changed.status_code == 200
    assert rows(credentials, EXTENSIONS) == [("citext pg_trgm plpgsql",)]
    assert kubernetes.fetch(instance).json()["parameters"] == {"extensions": ["pg_trgm"]}
    assert kubernetes.update(instance, parameters={"extensions": []}).status_code == 200
    assert rows(credentials, EXTENSIONS) == [("citext plpgsql",)]


def test_an_extension_in_use_stays(kubernetes: Platform, kept: Callable[[], Footprint]) -> None:
    """What PostgreSQL will not drop is refused with the reason, and nothing has changed."""
    instance, _, credentials = kubernetes.bound(parameters={"extensions": ["hstore"]})
    rows(credentials, "CREATE TABLE t (h public.hstore)")
    before = kept()
    refused = kubernetes.update(instance, plan_id=BIG, parameters={"extensions": ["pg_trgm"]})
    assert refused.status_code == 422
    body = refused.json()
    assert "hstore" in body.pop("description")
    assert body == {"instance_usable": True, "update_repeatable": True}
    assert kept().things() == before.things()
    assert rows(credentials, EXTENSIONS) == [("citext hstore plpgsql",)]
    assert rows(credentials, LIMIT) == [(5,)]
    assert kubernetes.fetch(instance).json()["plan_id"] == SMALL
    polled = kubernetes.poll(instance).json()
    assert polled["state"] == "failed"
    assert polled["instance_usable"] is polled["update_repeatable"] is True


def test_an_instance_whose_database_is_lost(kubernetes: Platform, postgres: PostgresServer) -> None:
    """A failed update says that the instance cannot be used; it can still be deleted."""
    instance, _, credentials = kubernetes.bound()
    with psycopg.connect(postgres.broker_dsn(), autocommit=True) as broker:
        drop = SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(credentials["database"]))
        broker.execute(drop)
    failed = kubernetes.update(instance, plan_id=BIG)
    assert failed.status_code == 500
    body = failed.json()
    assert "does not exist on its server any more" in body.pop("description")
    assert body == {"instance_usable": False, "update_repeatable": False}
    polled = kubernetes.poll(instance).json()
    assert polled["instance_usable"] is polled["update_repeatable"] is False
    assert kubernetes.bind(instance, new_id()).json().keys() == {"description"}
    assert kubernetes.deprovision(instance).status_code == 200


@pytest.mark.parametrize(
    ("changes", "reason", "repeatable"),
    [
        ({"plan_id": TINY}, "occupies", True),
        ({"plan_id": ELSEWHERE}, "can be updated to: big, tiny", False),
        ({"parameters": {"init-db-args": "--locale=C"}}, "create a new instance", False),
        ({"plan_id": BIG, "parameters": {"init-db-args": ""}}, "create a new instance", False),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_changes(
    kubernetes: Platform,
    kept: Callable[[], Footprint],
    changes: dict[str, Any],
    reason: str,
    repeatable: bool,
) -> None:
    """Each refusal is 422 with its reason and with what it means for the instance."""
    instance = kubernetes.provisioned(parameters={"init-db-args": "-k"})
    before = kept()
    refused = kubernetes.update(instance, **changes)
    assert refused.status_code == 422
    body = refused.json()
    assert reason in body.pop("description")
    assert body == {"instance_usable": True, "update_repeatable": repeatable}
    assert kept() == before


def test_a_plan_may_lead_nowhere(kubernetes: Platform) -> None:
    """A plan without a way on refuses every move."""
    instance = kubernetes.provisioned(BIG)
    refused = kubernetes.update(instance, plan_id=SMALL)
    assert refused.status_code == 422
    assert refused.json()["update_repeatable"] is False


def test_options_of_initdb_may_be_repeated(kubernetes: Platform) -> None:
    """The options the instance was made with, in whatever spelling, are no change."""
    instance = kubernetes.provisioned(parameters={"init-db-args": "--data-checksums"})
    repeated = kubernetes.update(instance, parameters={"init-db-args": ["-k"]})
    assert repeated.status_code == 200


def test_an_update_of_nothing_but_context(
    kubernetes: Platform, kept: Callable[[], Footprint]
) -> None:
    """New context is remembered, and the parameters and the plan stay as they were."""
    instance = kubernetes.provisioned(context={"platform": "kubernetes", "instance_name": "a"})
    fetched = kubernetes.fetch(instance).json()
    updated = kubernetes.update(instance, context={"platform": "kubernetes", "instance_name": "b"})
    assert (updated.status_code, updated.json()) == (200, {})
    assert kubernetes.fetch(instance).json() == fetched
    (row,) = (row for row in kept().rows["instances"] if instance in row)
    assert '"instance_name": "b"' in row


def test_maintenance(kubernetes: Platform) -> None:
    """The catalog's version is accepted, another one is a conflict that changes nothing."""
    instance = kubernetes.provisioned()
    assert kubernetes.update(instance, maintenance_info={"version": "1.2.3"}).status_code == 200
    refused = kubernetes.update(instance, maintenance_info={"version": "1.2.4"})
    assert refused.status_code == 422
    assert refused.json()["error"] == "MaintenanceInfoConflict"
    assert "instance_usable" not in refused.json()
    moving = kubernetes.update(instance, plan_id=BIG, maintenance_info={"version": "1.2.3"})
    assert moving.json()["error"] == "MaintenanceInfoConflict"
    assert kubernetes.fetch(instance).json()["plan_id"] == SMALL


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "changes",
    [
        {"service_id": OTHER_SERVICE},
        {"service_id": "no-such-service"},
        {"plan_id": "no-such-plan"},
        {"plan_id": OTHER_PLAN},
        {"service_id": OTHER_SERVICE, "plan_id": OTHER_PLAN},
        {"previous_values": {"plan_id": BIG}},
        {"previous_values": {"service_id": OTHER_SERVICE}},
        {"parameters": {"unknown": 1}},
        {"parameters": {"extensions": ["plpython3u"]}},
        {"parameters": {"init-db-args": "--auth=trust"}},
    ],
)
def test_bad_updates_are_refused(
    kubernetes: Platform, existing: tuple[str, str], changes: dict[str, Any]
) -> None:
    """Ids that do not belong together and parameters outside the schema are bad requests."""
    refused = kubernetes.update(existing[0], **changes)
    assert refused.status_code == 400
    assert set(refused.json()) == {"description"}


@pytest.mark.usefixtures("unchanged")
def test_an_unknown_instance_is_not_found(kubernetes: Platform) -> None:
    """An update of nothing is 404, with a plan or without."""
    assert kubernetes.update(new_id()).status_code == 404
    assert kubernetes.update(new_id(), plan_id=BIG).status_code == 404
