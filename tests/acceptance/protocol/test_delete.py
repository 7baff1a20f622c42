"""Unbinding and deprovisioning (OSB API 2.17, "Unbinding", "Deprovisioning")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.support.application import KUBERNETES, new_key, running_application, settings_for
from tests.support.catalog import BIG, CATALOG, OTHER_SERVICE, SERVICE, SMALL
from tests.support.platform import Platform, can_connect, new_id, path, rows

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.application import Footprint
    from tests.support.postgres import PostgresServer


TAG = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"


def test_nothing_remains(kubernetes: Platform, kept: Callable[[], Footprint]) -> None:
    """After unbind and deprovision, database, roles and rows are as if nothing had been."""
    before = kept()
    instance, binding, credentials = kubernetes.bound()
    assert kept().things() != before.things()
    for deleted in (kubernetes.unbind(instance, binding), kubernetes.deprovision(instance)):
        assert (deleted.status_code, deleted.json()) == (200, {})
    assert kept().things() == before.things()
    assert not can_connect(credentials)


def test_bindings_left_go_with_the_instance(
    kubernetes: Platform, kept: Callable[[], Footprint]
) -> None:
    """A platform that forgot to unbind leaves no login role and no secret behind."""
    before = kept()
    instance, binding, credentials = kubernetes.bound()
    kubernetes.credentials(instance, new_id(), parameters={"role": "read-only"})
    assert kubernetes.deprovision(instance).status_code == 200
    assert kept().things() == before.things()
    assert not can_connect(credentials)
    assert kubernetes.unbind(instance, binding).status_code == 410
    assert kubernetes.poll(instance, binding).status_code == 404


def test_what_a_login_made_stays_with_the_instance(kubernetes: Platform) -> None:
    """An unbind takes the credentials away, and nothing that was made with them."""
    instance, binding, first = kubernetes.bound()
    rows(first, "CREATE TABLE t AS SELECT 1 AS a")
    second = kubernetes.credentials(instance, new_id())
    assert kubernetes.unbind(instance, binding).status_code == 200
    assert not can_connect(first)
    assert rows(second, "DELETE FROM t RETURNING a") == [(1,)]


def test_a_deletion_that_fails_says_that_the_instance_cannot_be_used(
    kubernetes: Platform, postgres: PostgresServer
) -> None:
    """It changes nothing of what it may not touch; once it may, the same request succeeds."""
    instance, _, credentials = kubernetes.bound()
    name = Identifier(credentials["database"])
    with psycopg.connect(postgres.superuser_dsn(), autocommit=True) as superuser:
        (tag,) = superuser.execute(TAG, [credentials["database"]]).fetchone() or (None,)
        superuser.execute(SQL("COMMENT ON DATABASE {} IS 'mine'").format(name))
        failed = kubernetes.deprovision(instance)
        assert failed.status_code == 500
        body = failed.json()
        assert "is not this instance's" in body.pop("description")
        assert body == {"instance_usable": False}
        polled = kubernetes.poll(instance).json()
        assert (polled["state"], polled["instance_usable"]) == ("failed", False)
        assert "update_repeatable" not in polled
        assert can_connect(credentials)
        superuser.execute(SQL("COMMENT ON DATABASE {} IS {}").format(name, tag))
    assert kubernetes.deprovision(instance).status_code == 200


def test_an_id_can_be_used_again(kubernetes: Platform) -> None:
    """After its deletion, an id is as good as new, and the database is another one."""
    instance, binding, first = kubernetes.bound()
    assert kubernetes.unbind(instance, binding).status_code == 200
    assert kubernetes.deprovision(instance).status_code == 200
    assert kubernetes.provision(instance).status_code == 201
    assert kubernetes.credentials(instance, binding)["database"] != first["database"]


@pytest.mark.usefixtures("unchanged")
def test_what_does_not_exist_is_gone(kubernetes: Platform, existing: tuple[str, str]) -> None:
    """An unknown instance, binding, or binding of another instance is 410, with a description."""
    instance, binding = existing
    for gone in (
        kubernetes.deprovision(new_id()),
        kubernetes.unbind(instance, new_id()),
        kubernetes.unbind(new_id(), binding),
    ):
        assert gone.status_code == 410
        assert gone.json()["description"]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "query",
    [
        {},
        {"service_id": SERVICE},
        {"plan_id": SMALL},
        {"service_id": "", "plan_id": SMALL},
        {"service_id": SERVICE, "plan_id": "no-such-plan"},
        {"service_id": OTHER_SERVICE, "plan_id": BIG},
        {"service_id": OTHER_SERVICE, "plan_id": SMALL},
        {"service_id": SERVICE, "plan_id": SMALL, "accepts_incomplete": "perhaps"},
    ],
)
def test_a_delete_has_to_name_service_and_plan(
    kubernetes: Platform, existing: tuple[str, str], query: dict[str, str]
) -> None:
    """Missing and wrong ids are bad requests, and nothing is deleted."""
    for location in (path(existing[0]), path(*existing)):
        refused = kubernetes.http.delete(location, params=query)
        assert refused.status_code == 400
        assert refused.json()["description"]


def test_a_delete_may_name_a_plan_the_instance_never_got(kubernetes: Platform) -> None:
    """A platform whose change of plan was refused deletes with the plan that it wanted."""
    wanted = {"service_id": SERVICE, "plan_id": BIG}
    instance, binding, _ = kubernetes.bound()
    assert kubernetes.http.delete(path(instance, binding), params=wanted).status_code == 200
    assert kubernetes.http.delete(path(instance), params=wanted).status_code == 200


def test_an_instance_whose_plan_left_the_catalog_can_go(
    postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> None:
    """A plan that is no longer offered can still be unbound and deprovisioned, not bound."""
    key = new_key()
    settings = settings_for(postgres, state_dsn, tmp_path, key=key)
    with running_application(settings) as broker, Platform(broker.url, KUBERNETES) as platform:
        instance, binding, credentials = platform.bound()
    catalog = CATALOG.replace(SMALL, "5e1f0001-replaced")
    settings = settings_for(postgres, state_dsn, tmp_path, catalog=catalog, key=key)
    with running_application(settings) as broker, Platform(broker.url, KUBERNETES) as platform:
        assert can_connect(credentials)
        assert platform.fetch(instance, binding).json()["credentials"] == credentials
        assert platform.bind(instance, new_id()).status_code == 422
        assert platform.update(instance, parameters={}).status_code == 422
        assert platform.unbind(instance, binding).status_code == 200
        assert platform.deprovision(instance).status_code == 200
    assert not can_connect(credentials)
