"""``pgbroker smoke``: what is wrong is found out, and nothing stays behind."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.process import (
    PATIENCE,
    BrokerProcess,
    free_port,
    read_until,
    running_broker,
    started_program,
)
from tests.support.smoke import failure, nothing_left, smoke

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_MISLEADING_CATALOG = """\
offerings:
  - id: 6c8a0000-service
    name: postgres
    description: A catalog whose words and deeds differ.
    plans:
      - id: 6c8a0001-plan
        name: misleading
        description: Its readers write.
        limits: {connections: 10, connections_per_binding: 5}
        bindings:
          roles: {full: write, read-only: write}
          default_role: full
"""


def test_a_login_that_does_not_work_fails_and_is_cleaned_up(
    broker_environment: dict[str, str], state_dsn: str, tmp_path: Path
) -> None:
    """Credentials that lead nowhere are the step that failed; instance and binding are removed."""
    servers_file = tmp_path / "servers.yaml"
    (server,) = json.loads(servers_file.read_text("utf-8"))["servers"]
    server["port"] = free_port()
    servers_file.write_text(json.dumps({"servers": [server]}), "utf-8")
    with running_broker(broker_environment, tmp_path / "broker.log") as broker:
        status, document = smoke(broker)
    assert status == 1
    name, detail = failure(document)
    assert name == "connect"
    assert detail.startswith("PostgreSQL: ")
    assert str(server["port"]) in detail
    names = [step["name"] for step in document["steps"]]
    assert names[-2:] == ["clean up: unbind", "clean up: deprovision"]
    assert document["left_behind"] == []
    assert nothing_left(state_dsn)


def test_a_reader_that_can_write_is_found_out(
    broker_environment: dict[str, str], state_dsn: str, tmp_path: Path
) -> None:
    """A read-only binding is judged by what it can do, whatever the broker calls it."""
    catalog_file = tmp_path / "catalog.yaml"
    catalog_file.write_text(_MISLEADING_CATALOG, "utf-8")
    environ = broker_environment | {"PGBROKER_CATALOG_FILE": str(catalog_file)}
    with running_broker(environ, tmp_path / "broker.log") as broker:
        status, document = smoke(broker)
    assert status == 1
    name, detail = failure(document)
    assert name == "reading works, writing is refused"
    assert detail.startswith("Writing was possible")
    assert nothing_left(state_dsn)


def test_a_broker_that_dies_leaves_what_is_listed(
    broker_environment: dict[str, str], tmp_path: Path, state_dsn: str
) -> None:
    """What could not be deleted is named as the requests that delete it; sent later, they do."""
    log_file = tmp_path / "broker.log"
    with running_broker(broker_environment, log_file) as broker:
        address = broker.url.removeprefix("http://")
        with (
            _no_bindings(state_dsn),
            started_program("smoke", broker.url_with_credentials) as smoke,
        ):
            read_until(smoke, "fetch the instance")
            broker.kill()
            output, _ = smoke.communicate(timeout=PATIENCE)
    assert smoke.returncode == 1
    assert "failed  bind " in output
    assert "failed  clean up: deprovision" in output
    lines = [line.strip() for line in output.splitlines()]
    requests = [line.split() for line in lines if line.startswith("DELETE /v2")]
    assert len(requests) == 2
    assert not nothing_left(state_dsn)
    with running_broker(broker_environment | {"PGBROKER_BIND": address}, log_file) as broker:
        answers = [broker.client.request(method, path) for method, path in requests]
    assert [answer.status_code for answer in answers] == [410, 200]
    assert nothing_left(state_dsn)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_cleans_up(
    broker_process: BrokerProcess, state_dsn: str, number: signal.Signals
) -> None:
    """Ctrl-C in the middle: exit status 130, and nothing is left with the broker."""
    with started_program("smoke", broker_process.url_with_credentials) as smoke:
        with _no_bindings(state_dsn):
            read_until(smoke, "fetch the instance")
            smoke.send_signal(number)
            read_until(smoke, "did not end")
        output, _ = smoke.communicate(timeout=PATIENCE)
    assert smoke.returncode == 130
    assert "failed: interrupted, after" in output
    assert "passed  clean up: deprovision" in output
    assert nothing_left(state_dsn)


def test_a_run_that_takes_too_long_is_given_up(
    broker_process: BrokerProcess, state_dsn: str
) -> None:
    """``--timeout`` ends a run that is stuck, and what it made is still cleaned up."""
    with started_program("smoke", broker_process.url_with_credentials, "--timeout", "5") as smoke:
        with _no_bindings(state_dsn):
            read_until(smoke, "did not end")
        output, _ = smoke.communicate(timeout=PATIENCE)
    assert smoke.returncode == 1
    assert "failed: given up after 5 s (--timeout), after" in output
    assert nothing_left(state_dsn)


@contextmanager
def _no_bindings(state_dsn: str) -> Iterator[None]:
    """Keep the broker from recording bindings: whoever asks for one waits until this is over."""
    with psycopg.connect(state_dsn) as state:
        state.execute("LOCK TABLE pgbroker.bindings IN SHARE MODE")
        yield
