"""A state database that is lost, with applications running: recover, and go on."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.support.application import cloned_database
from tests.support.catalog import EXPIRING, SMALL
from tests.support.faults_waiting import until
from tests.support.platform import Platform, can_connect, new_id
from tests.support.process import PASSWORD, USERNAME, run_program, running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.postgres import PostgresServer


@pytest.fixture
def with_empty_state(
    with_all_plans: dict[str, str], postgres: PostgresServer, migrated_template: str
) -> Iterator[dict[str, str]]:
    """Return the same environment with another state database, which knows nothing."""
    with cloned_database(postgres, migrated_template) as state_dsn:
        yield with_all_plans | {"PGBROKER_STATE_DSN": state_dsn}


def _run(environ: dict[str, str], *arguments: str, status: int = 0) -> Any:
    done = run_program(*arguments, "--json", environ=environ)
    assert done.returncode == status, done.stdout + done.stderr
    return json.loads(done.stdout)


def _drift(environ: dict[str, str], *arguments: str, status: int = 0) -> dict[str, bool]:
    """Reconcile; return what was found on the server ``shared``, and whether it is resolved."""
    reports = {
        report["server"]: report for report in _run(environ, "reconcile", *arguments, status=status)
    }
    return {drift["kind"]: drift["resolved"] for drift in reports["shared"]["drift"]}


def test_platforms_and_applications_outlive_the_state(
    with_all_plans: dict[str, str], with_empty_state: dict[str, str], tmp_path: Path
) -> None:
    """Credentials keep working; fetch, bind, rotate, unbind and deprovision do what they did."""
    login, log = (USERNAME, PASSWORD), tmp_path / "broker.log"
    parameters = {"extensions": ["hstore"]}
    with (
        running_broker(with_all_plans, log) as broker,
        Platform(broker.url, login) as platform,
    ):
        instance, kept, before = platform.bound(parameters=parameters)
        rotated = new_id()
        predecessor = platform.credentials(instance, rotated, parameters={"role": "read-only"})
        expiring, dated, _ = platform.bound(EXPIRING)
        dates = platform.fetch(expiring, dated).json()["metadata"]

    assert _drift(with_empty_state, status=1)["lost_state"] is False
    found = _run(with_empty_state, "recover", "--from-servers")["found"]
    assert {one["outcome"] for one in found} == {"recovered"}
    assert len(found) == 5
    assert _drift(with_empty_state) == {}

    with (
        running_broker(with_empty_state, log) as broker,
        Platform(broker.url, login) as platform,
    ):
        assert can_connect(before)
        assert platform.fetch(instance).json()["parameters"] == parameters
        fetched = platform.fetch(instance, rotated)
        assert fetched.status_code == httpx.codes.OK
        assert fetched.json()["parameters"] == {"role": "read-only"}
        assert "credentials" not in fetched.json()
        assert platform.fetch(expiring, dated).json()["metadata"] == dates

        again = platform.bind(instance, kept)
        assert again.status_code == httpx.codes.CREATED
        credentials = again.json()["credentials"]
        assert credentials["username"] == before["username"]
        assert can_connect(credentials)
        assert not can_connect(before)
        assert platform.bind(instance, kept).status_code == httpx.codes.OK
        assert platform.fetch(instance, kept).json()["credentials"] == credentials

        successor = platform.bind(instance, new_id(), None, predecessor_binding_id=rotated)
        assert successor.status_code == httpx.codes.CREATED
        assert can_connect(successor.json()["credentials"])
        assert can_connect(predecessor)
        assert platform.unbind(instance, rotated).status_code == httpx.codes.OK
        assert not can_connect(predecessor)
        assert platform.deprovision(instance).status_code == httpx.codes.OK
        assert platform.deprovision(expiring, EXPIRING).status_code == httpx.codes.OK
    # Other tests' databases may be on the server, with keys of theirs: nothing could be read then.
    done = run_program("recover", "--from-servers", "--json", environ=with_empty_state)
    assert json.loads(done.stdout)["found"] == []


def test_nothing_is_gone_while_the_state_looks_lost(
    with_all_plans: dict[str, str], with_empty_state: dict[str, str], tmp_path: Path
) -> None:
    """A broker that was started too early sees it, and no platform forgets what is alive."""
    login, log = (USERNAME, PASSWORD), tmp_path / "broker.log"
    with (
        running_broker(with_all_plans, log) as broker,
        Platform(broker.url, login) as platform,
    ):
        instance, binding, credentials = platform.bound()
        assert platform.deprovision(new_id()).status_code == httpx.codes.GONE
    with (
        running_broker(with_empty_state, log) as broker,
        Platform(broker.url, login) as platform,
    ):
        asyncio.run(
            until(
                lambda: 'kind="lost_state"' in httpx.get(f"{broker.url}/metrics").text,
                what="the first look",
            )
        )
        for refused in (platform.unbind(instance, binding), platform.deprovision(instance)):
            assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert "recover" in refused.json()["description"]
        assert can_connect(credentials)
        _run(with_empty_state, "recover", "--from-servers")
        assert _drift(with_empty_state) == {}
        assert platform.deprovision(new_id()).status_code == httpx.codes.GONE
        assert platform.unbind(instance, binding).status_code == httpx.codes.OK
        assert platform.deprovision(instance).status_code == httpx.codes.OK


def test_drift_is_reported_and_repaired(
    with_all_plans: dict[str, str], postgres: PostgresServer, tmp_path: Path
) -> None:
    """The command says what is wrong and mends it, and the metrics of a broker say it, too."""
    with (
        running_broker(with_all_plans, tmp_path / "broker.log") as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        instance, _, credentials = platform.bound(SMALL)
        assert _drift(with_all_plans) == {}
        with psycopg.connect(postgres.broker_dsn(), autocommit=True) as session:
            session.execute(
                SQL("GRANT CONNECT ON DATABASE {} TO PUBLIC").format(
                    Identifier(credentials["database"])
                )
            )
        assert _drift(with_all_plans, status=1) == {"grants": False}
        metrics = httpx.get(f"{broker.url}/metrics")
        assert metrics.status_code == httpx.codes.OK
        assert (
            'pgbroker_drift{kind="grants",resolved="false",server="shared",treatment="repair"} 1.0'
        ) in metrics.text
        assert "pgbroker_state_up 1.0" in metrics.text
        told = run_program("reconcile", environ=with_all_plans | {"COLUMNS": "200"})
        assert "Everybody has CONNECT" in told.stdout
        assert "shared: 1 instances compared" in told.stdout
        assert _drift(with_all_plans, "--apply") == {"grants": True}
        assert _drift(with_all_plans) == {}
        assert "pgbroker_drift{" not in httpx.get(f"{broker.url}/metrics").text
        assert platform.deprovision(instance).status_code == httpx.codes.OK


def test_recovering_asks_for_its_source(with_all_plans: dict[str, str]) -> None:
    """Without --from-servers nothing is done, and a backup is recommended."""
    done = run_program("recover", environ=with_all_plans)
    assert done.returncode == 2
    assert "--from-servers" in done.stderr
    assert "backup" in done.stderr
