"""``pgbroker servers rotate-admin``, beside a broker that serves."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.platform import Platform, new_id
from tests.support.postgres import BROKER_ROLE, PostgresServer, running_server
from tests.support.process import PASSWORD, USERNAME, environment, run_program, running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLAN = {
    "service_id": "9a3c1f5e-6f0b-4b8e-9d57-3b1c5f6f2a10",
    "plan_id": "4f0f1c7c-0a56-4f5c-8b0e-7e6a1d0c9b21",
}


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """Return a server whose broker role may be changed; the state is elsewhere."""
    with running_server() as server:
        yield server


def test_passwords_rotate_while_requests_are_served(
    own_server: PostgresServer, state_dsn: str, tmp_path: Path
) -> None:
    """No request fails, a restart finds the password, and no output or log shows one.

    The file that was asked for has the new connection string, for its owner only.
    """
    environ = environment(own_server, state_dsn, tmp_path)
    dsn_file, log_file = tmp_path / "new.dsn", tmp_path / "broker.log"
    statuses: list[int] = []
    rotated = threading.Event()
    with running_broker(environ, log_file) as broker:

        def use() -> None:
            with Platform(broker.url, (USERNAME, PASSWORD)) as platform:
                while not rotated.is_set():
                    answer = platform.provision(new_id(), PLAN["plan_id"], **PLAN)
                    statuses.append(answer.status_code)

        user = threading.Thread(target=use)
        user.start()
        first = run_program("servers", "rotate-admin", "shared", environ=environ)
        second = run_program(
            "servers", "rotate-admin", "shared", "--write-dsn", str(dsn_file), environ=environ
        )
        rotated.set()
        user.join()
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "docs/operations.md" in first.stdout
    assert statuses
    assert set(statuses) == {201}

    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(own_server.broker_dsn())
    dsn = dsn_file.read_text("utf-8").strip()
    with psycopg.connect(dsn) as connection:
        assert connection.info.user == BROKER_ROLE
    assert dsn_file.stat().st_mode & 0o077 == 0
    password = psycopg.conninfo.conninfo_to_dict(dsn)["password"]

    with running_broker(environ, log_file) as broker:
        with Platform(broker.url, (USERNAME, PASSWORD)) as platform:
            assert platform.provision(new_id(), PLAN["plan_id"], **PLAN).status_code == 201
        listed = run_program("servers", "list", "--json", environ=environ)
        assert [server["reachable"] for server in json.loads(listed.stdout)] == [True]
        log = broker.log_text()
    shown = log + first.stdout + first.stderr + second.stdout + second.stderr
    assert str(password) not in shown
    assert "server does not answer" not in log


def test_a_role_that_the_state_depends_on_is_left_alone(
    broker_environment: dict[str, str], postgres: PostgresServer
) -> None:
    """The broker would lock itself out of its state, so it says so and changes nothing."""
    refused = run_program("servers", "rotate-admin", "shared", environ=broker_environment)
    assert refused.returncode == 1
    assert "locked out" in refused.stderr
    with psycopg.connect(postgres.broker_dsn()) as connection:
        assert connection.info.user == BROKER_ROLE


def test_a_file_that_cannot_be_written_prevents_the_rotation(
    own_server: PostgresServer, state_dsn: str, tmp_path: Path
) -> None:
    """Who wants the connection string in a file gets it, or nothing is changed."""
    environ = environment(own_server, state_dsn, tmp_path)
    for file, said in ((tmp_path / "missing" / "new.dsn", "cannot be written"), (tmp_path, "is a")):
        refused = run_program(
            "servers", "rotate-admin", "shared", "--write-dsn", str(file), environ=environ
        )
        assert refused.returncode == 1
        assert said in refused.stderr
        assert "Nothing has been changed" in refused.stderr
    with psycopg.connect(state_dsn) as state:
        recorded = state.execute("SELECT count(*) FROM pgbroker.server_passwords").fetchone()
    assert recorded == (0,)
