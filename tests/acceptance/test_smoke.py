"""``pgbroker smoke``: the verdict is the truth, and nothing stays behind."""

from __future__ import annotations

import json
import os
import pty
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import trustme

from tests.support.application import state_rows
from tests.support.catalog import CATALOG
from tests.support.process import (
    PASSWORD,
    PATIENCE,
    USERNAME,
    BrokerProcess,
    free_port,
    read_until,
    run_program,
    running_broker,
    started_program,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_WHOLE_LIFE = [
    "catalog",
    "provision",
    "fetch the instance",
    "bind",
    "fetch the binding",
    "connect",
    "create a table",
    "write and read a row",
    "rotate",
    "old and new login work",
    "unbind the predecessor",
    "its login is refused",
    "the new login still works",
    "bind for reading only",
    "reading works, writing is refused",
    "unbind the reader",
    "its login is refused",
    "unbind",
    "its login is refused",
    "unbind again",
    "deprovision",
    "the database is gone",
    "deprovision again",
    "the instance is not found",
]

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


@pytest.fixture
def with_all_plans(broker_environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Return the environment of a broker that has a plan for every case."""
    catalog_file, servers_file = tmp_path / "catalog.yaml", tmp_path / "servers.yaml"
    catalog_file.write_text(CATALOG, "utf-8")
    (server,) = json.loads(servers_file.read_text("utf-8"))["servers"]
    servers = [server, {**server, "name": "other", "pool": "other"}]
    servers_file.write_text(json.dumps({"servers": servers}), "utf-8")
    return broker_environment | {"PGBROKER_CATALOG_FILE": str(catalog_file)}


def _smoke(broker: BrokerProcess, *options: str) -> tuple[int, dict[str, Any]]:
    """Run it for programs; return its exit status and its document."""
    done = run_program("smoke", broker.url_with_credentials, "--json", *options)
    assert not done.stderr
    assert PASSWORD not in done.stdout
    return done.returncode, json.loads(done.stdout)


def _outcomes(document: dict[str, Any], outcome: str) -> list[str]:
    return [step["name"] for step in document["steps"] if step["outcome"] == outcome]


def _failure(document: dict[str, Any]) -> tuple[str, str]:
    """Return the name and the reason of the one step that failed."""
    ((name, detail),) = [
        (step["name"], step["detail"]) for step in document["steps"] if step["outcome"] == "failed"
    ]
    return name, detail


def _nothing_left(state_dsn: str) -> bool:
    rows = state_rows(state_dsn)
    return not rows["instances"] and not rows["bindings"]


def test_a_good_broker_passes_every_step(broker_process: BrokerProcess, state_dsn: str) -> None:
    """All of the life is lived, in order, and afterwards the broker has nothing any more."""
    status, document = _smoke(broker_process)
    assert (status, document["passed"], document["problem"]) == (0, True, None)
    assert _outcomes(document, "passed") == _WHOLE_LIFE
    assert len(document["steps"]) == len(_WHOLE_LIFE)
    assert document["left_behind"] == []
    assert _nothing_left(state_dsn)


def test_pgbroker_dev_passes(servers: Path) -> None:
    """The command that ``pgbroker dev`` prints works as it is printed."""
    directory = servers / "dev"
    with started_program("dev", "--port", "0", "--data-dir", str(directory)) as dev:
        output = read_until(dev, "pgbroker smoke http://")
        command = output.splitlines()[-1].split()
        done = run_program(*command[1:])
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert [line[8:42].rstrip() for line in lines[1:-1]] == _WHOLE_LIFE
    assert all(line.startswith("passed ") for line in lines[1:-1])
    assert lines[-1].startswith(f"passed: {len(_WHOLE_LIFE)} steps in ")
    assert json.loads((directory / "secrets.json").read_text())["password"] not in done.stdout


def test_credentials_come_from_the_environment_too(
    broker_process: BrokerProcess, tmp_path: Path
) -> None:
    """A URL without credentials takes them from the variables, the password also from a file."""
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    environ = {"PGBROKER_USERNAME": USERNAME, "PGBROKER_PASSWORD_FILE": str(file)}
    done = run_program("smoke", broker_process.url, "--plan", "standard", environ=environ)
    assert done.returncode == 0, done.stdout
    assert "plan standard" in done.stdout


def test_a_slow_plan_is_polled(with_all_plans: dict[str, str], tmp_path: Path) -> None:
    """A broker that answers 202 is asked until it is done, and what it did is then used."""
    with running_broker(with_all_plans, tmp_path / "broker.log") as broker:
        status, document = _smoke(broker, "--plan", "slow")
    assert status == 0
    details = {step["name"]: step["detail"] for step in document["steps"]}
    assert (details["provision"], details["deprovision"]) == ("202", "202")


def test_what_a_plan_does_not_offer_is_skipped(
    with_all_plans: dict[str, str], tmp_path: Path
) -> None:
    """No rotation without the plan's word for it: the step is shown as skipped, not as passed."""
    with running_broker(with_all_plans, tmp_path / "broker.log") as broker:
        status, document = _smoke(broker, "--service", "postgres", "--plan", "fixed")
    assert status == 0
    assert "rotate" in _outcomes(document, "skipped")
    assert not {"rotate", "unbind the predecessor"} & set(_outcomes(document, "passed"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--plan", "golden"), "There is no plan 'golden'. Choose with --plan: small, big"),
        (("--service", "mysql"), "no offering 'mysql'. Choose with --service: postgres, other."),
        (("--plan", "unbound"), "Instances of the plan 'unbound' cannot be bound."),
    ],
)
def test_a_plan_that_cannot_be_tried_is_refused(
    with_all_plans: dict[str, str], tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    """The message says what there is to choose from, and nothing has been provisioned."""
    with running_broker(with_all_plans, tmp_path / "broker.log") as broker:
        status, document = _smoke(broker, *options)
    assert status == 1
    name, detail = _failure(document)
    assert (name, len(document["steps"])) == ("catalog", 1)
    assert reason in detail


def test_a_wrong_password_is_not_shown(broker_process: BrokerProcess) -> None:
    """The broker's refusal is shown with status and description, the password is not."""
    url = broker_process.url.replace("://", f"://{USERNAME}:not-the-password@")
    done = run_program("smoke", url)
    assert done.returncode == 1
    assert "GET /v2/catalog: expected 200, got 401: The user name or password" in done.stdout
    assert "failed: catalog, after" in done.stdout
    assert "not-the-password" not in done.stdout + done.stderr


def test_nothing_listening() -> None:
    """A broker that is not there is a failure that says where it was looked for."""
    port = free_port()
    done = run_program("smoke", f"http://u:p4ssw0rd@127.0.0.1:{port}")
    assert done.returncode == 1
    assert f"No connection to http://127.0.0.1:{port}" in done.stdout
    assert "Is the broker running there?" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "environ", "reason"),
    [
        (["http://127.0.0.1:1"], {}, "There is no user name."),
        (["http://u@127.0.0.1:1"], {}, "There is no password."),
        (["127.0.0.1:8080"], {}, "The URL is not one of a broker."),
        (["http://u:secret#word@host"], {}, "special characters in the password"),
        (["http://u:secret?word@host"], {}, "percent-encoded"),
        (["http://u:p@host:port"], {}, "The URL is not one of a broker."),
        (["http://u:p@h", "--ca-file", "/nowhere.pem"], {}, "/nowhere.pem cannot be used: No such"),
        (["http://u:p@h", "--ca-file", "x", "--insecure"], {}, "leave out it or --ca-file"),
        (
            ["http://u@h"],
            {"PGBROKER_PASSWORD": "a", "PGBROKER_PASSWORD_FILE": "b"},
            "Both PGBROKER_PASSWORD and PGBROKER_PASSWORD_FILE are set",
        ),
        (
            ["http://u@h"],
            {"PGBROKER_PASSWORD_FILE": "/nowhere"},
            "/nowhere cannot be read: No such",
        ),
    ],
)
def test_bad_arguments_are_refused(
    arguments: list[str], environ: dict[str, str], reason: str
) -> None:
    """Exit status 2 and a message that says what to change, without any part of a password."""
    done = run_program("smoke", *arguments, environ=environ)
    assert (done.returncode, done.stdout) == (2, "")
    assert reason in done.stderr
    assert "secret" not in done.stderr


def test_a_login_that_does_not_work_fails_and_is_cleaned_up(
    broker_environment: dict[str, str], state_dsn: str, tmp_path: Path
) -> None:
    """Credentials that lead nowhere are the step that failed; instance and binding are removed."""
    servers_file = tmp_path / "servers.yaml"
    (server,) = json.loads(servers_file.read_text("utf-8"))["servers"]
    server["port"] = free_port()
    servers_file.write_text(json.dumps({"servers": [server]}), "utf-8")
    with running_broker(broker_environment, tmp_path / "broker.log") as broker:
        status, document = _smoke(broker)
    assert status == 1
    name, detail = _failure(document)
    assert name == "connect"
    assert detail.startswith("PostgreSQL: ")
    assert str(server["port"]) in detail
    names = [step["name"] for step in document["steps"]]
    assert names[-2:] == ["clean up: unbind", "clean up: deprovision"]
    assert document["left_behind"] == []
    assert _nothing_left(state_dsn)


def test_a_reader_that_can_write_is_found_out(
    broker_environment: dict[str, str], state_dsn: str, tmp_path: Path
) -> None:
    """A read-only binding is judged by what it can do, whatever the broker calls it."""
    catalog_file = tmp_path / "catalog.yaml"
    catalog_file.write_text(_MISLEADING_CATALOG, "utf-8")
    environ = broker_environment | {"PGBROKER_CATALOG_FILE": str(catalog_file)}
    with running_broker(environ, tmp_path / "broker.log") as broker:
        status, document = _smoke(broker)
    assert status == 1
    name, detail = _failure(document)
    assert name == "reading works, writing is refused"
    assert detail.startswith("Writing was possible")
    assert _nothing_left(state_dsn)


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
    requests = [line.strip().split() for line in output.splitlines() if "  DELETE /v2" in line]
    assert len(requests) == 2
    assert not _nothing_left(state_dsn)
    with running_broker(broker_environment | {"PGBROKER_BIND": address}, log_file) as broker:
        answers = [broker.client.request(method, path) for method, path in requests]
    assert [answer.status_code for answer in answers] == [410, 200]
    assert _nothing_left(state_dsn)


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
    assert _nothing_left(state_dsn)


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
    assert _nothing_left(state_dsn)


@contextmanager
def _no_bindings(state_dsn: str) -> Iterator[None]:
    """Keep the broker from recording bindings: whoever asks for one waits until this is over."""
    with psycopg.connect(state_dsn) as state:
        state.execute("LOCK TABLE pgbroker.bindings IN SHARE MODE")
        yield


def test_tls_is_verified(broker_environment: dict[str, str], tmp_path: Path) -> None:
    """A certificate nobody vouches for is refused, unless its issuer is named or told otherwise."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    ca_file, chain, key = (tmp_path / name for name in ("ca.pem", "chain.pem", "key.pem"))
    authority.cert_pem.write_to_path(str(ca_file))
    for blob in certificate.cert_chain_pems:
        blob.write_to_path(str(chain), append=True)
    certificate.private_key_pem.write_to_path(str(key))
    environ = broker_environment | {
        "PGBROKER_TLS_CERT_FILE": str(chain),
        "PGBROKER_TLS_KEY_FILE": str(key),
    }
    with running_broker(environ, tmp_path / "broker.log") as broker:
        status, document = _smoke(broker)
        assert status == 1
        assert "its certificate is not trusted" in _failure(document)[1]
        assert _smoke(broker, "--ca-file", str(ca_file))[0] == 0
        assert _smoke(broker, "--insecure")[0] == 0


def test_a_terminal_gets_a_table(broker_process: BrokerProcess) -> None:
    """On a terminal every step ends up in the table with a mark, and no password does."""
    terminal, slave = pty.openpty()
    environ = {"TERM": "xterm-256color", "COLUMNS": "120"}
    with started_program(
        "smoke", broker_process.url_with_credentials, environ=environ, stdout=slave
    ) as smoke:
        os.close(slave)
        shown = _read_terminal(terminal)
        assert smoke.wait(PATIENCE) == 0
    for name in _WHOLE_LIFE:
        assert f"✓\x1b[0m  {name}" in shown
    assert PASSWORD not in shown
    assert "postgresql://" not in shown


def _read_terminal(terminal: int) -> str:
    """Read what a program shows until it has ended, which a terminal reports as an error."""
    shown = b""
    with os.fdopen(terminal, "rb", buffering=0) as stream:
        try:
            while part := stream.read(65536):
                shown += part
        except OSError:
            pass
    return shown.decode()
