"""Storage limits through the program: a database grows too large, and gets out of it again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import errors

from tests.support.catalog import LIMITED, ROOMY, TIGHT
from tests.support.platform import Platform, new_id, rows
from tests.support.process import PASSWORD, USERNAME, run_program

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.process import BrokerProcess

FILL = "INSERT INTO t SELECT generate_series(1, 400000)"
ONE_MORE = "INSERT INTO t VALUES (0)"


@pytest.fixture
def broker_environment(broker_environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Return the environment of a broker with a plan that is soon full."""
    catalog_file = tmp_path / "catalog.yaml"
    catalog_file.write_text(LIMITED, "utf-8")
    return broker_environment | {"PGBROKER_CATALOG_FILE": str(catalog_file)}


def storage(environ: dict[str, str], *arguments: str) -> str:
    """Run ``pgbroker storage``."""
    done = run_program("storage", *arguments, environ=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def checked(environ: dict[str, str]) -> dict[str, Any]:
    """Measure now, and return what is shown of the only instance."""
    (row,) = json.loads(storage(environ, "check", "--json"))
    found: dict[str, Any] = row
    return found


def attributes(platform: Platform, instance: str) -> dict[str, Any]:
    """Return what fetching tells about the storage of an instance."""
    found: dict[str, Any] = platform.fetch(instance).json()["metadata"]["attributes"]
    return found


def test_a_database_that_grows_too_large(
    broker_process: BrokerProcess, broker_environment: dict[str, str]
) -> None:
    """Full, it is read-only and says so; an operator's leave or a larger plan ends that."""
    environ = broker_environment
    with Platform(broker_process.url, (USERNAME, PASSWORD)) as platform:
        instance, _, app = platform.bound(TIGHT)
        rows(app, "CREATE TABLE t (a int)")
        assert checked(environ)["state"] == "within"
        assert not attributes(platform, instance)["read_only"]
        rows(app, FILL)

        full = checked(environ)
        assert (full["state"], full["instance_id"]) == ("full", instance)
        assert full["used_bytes"] > full["limit_bytes"] == 16 * 1024 * 1024
        for login in (app, late := platform.credentials(instance, new_id(), TIGHT)):
            with pytest.raises(errors.ReadOnlySqlTransaction):
                rows(login, ONE_MORE)
        told = attributes(platform, instance)
        assert told["read_only"]
        assert told["storage_used_bytes"] == full["used_bytes"]
        assert "larger plan" in told["notice"]
        assert platform.poll(instance).json()["description"] == told["notice"]
        assert instance in storage(environ, "list")

        platform_name = full["platform"]
        storage(environ, "allow", platform_name, instance, "--hours", "2")
        rows(late, "TRUNCATE t")
        storage(environ, "allow", platform_name, instance, "--hours", "0")
        assert checked(environ)["state"] == "within"

        rows(app, FILL)
        assert checked(environ)["state"] == "full"
        assert platform.update(instance, plan_id=ROOMY).status_code == 200
        for login in (app, late):
            rows(login, ONE_MORE)
        assert not attributes(platform, instance)["read_only"]
        assert checked(environ)["state"] == "within"
        assert platform.deprovision(instance, ROOMY).status_code == 200


def test_a_full_database_whose_update_is_refused(
    broker_process: BrokerProcess, broker_environment: dict[str, str]
) -> None:
    """It has the plan it had, and after the next measurement it is read-only as before."""
    with Platform(broker_process.url, (USERNAME, PASSWORD)) as platform:
        instance, _, app = platform.bound(TIGHT, parameters={"extensions": ["citext"]})
        rows(app, "CREATE TABLE t (a int, b public.citext)")
        rows(app, FILL)
        assert checked(broker_environment)["state"] == "full"
        refused = platform.update(instance, plan_id=ROOMY, parameters={"extensions": []})
        assert refused.status_code == 422
        assert refused.json()["instance_usable"]
        assert platform.fetch(instance).json()["plan_id"] == TIGHT
        assert checked(broker_environment)["state"] == "full"
        with pytest.raises(errors.ReadOnlySqlTransaction):
            rows(app, ONE_MORE)
        assert platform.deprovision(instance, TIGHT).status_code == 200


def test_leave_for_what_does_not_exist(broker_environment: dict[str, str]) -> None:
    """An unknown instance is named, and how to find those that are known."""
    done = run_program("storage", "allow", "default", "nobody", environ=broker_environment)
    assert done.returncode == 1
    assert "'nobody'" in done.stderr
    assert "pgbroker storage list" in done.stderr
