"""``pgbroker smoke``: a good broker passes, and what is shown is what happened."""

from __future__ import annotations

import os
import pty
import shlex
from typing import TYPE_CHECKING

import pytest
import trustme

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
from tests.support.smoke import WHOLE_LIFE, failure, nothing_left, outcomes, smoke

if TYPE_CHECKING:
    from pathlib import Path


def test_a_good_broker_passes_every_step(broker_process: BrokerProcess, state_dsn: str) -> None:
    """All of the life is lived, in order, and afterwards the broker has nothing any more."""
    status, document = smoke(broker_process)
    assert (status, document["passed"], document["problem"]) == (0, True, None)
    assert outcomes(document, "passed") == WHOLE_LIFE
    assert len(document["steps"]) == len(WHOLE_LIFE)
    assert document["left_behind"] == []
    assert nothing_left(state_dsn)


def test_pgbroker_dev_passes(servers: Path) -> None:
    """The command that ``pgbroker dev`` prints works as it is printed, whatever the password."""
    password = "p@ss/w#rd?12$HOME&'x"
    environ = {"PGBROKER_USERNAME": "o'hara", "PGBROKER_PASSWORD": password}
    arguments = ("dev", "--port", "0", "--data-dir", str(servers / "dev"))
    with started_program(*arguments, environ=environ) as dev:
        output = read_until(dev, "pgbroker smoke ")
        command = shlex.split(output.splitlines()[-1])
        done = run_program(*command[1:])
    assert done.returncode == 0, done.stdout
    lines = done.stdout.splitlines()
    assert [line[8:42].rstrip() for line in lines[1:-1]] == WHOLE_LIFE
    assert all(line.startswith("passed ") for line in lines[1:-1])
    assert lines[-1].startswith(f"passed: {len(WHOLE_LIFE)} steps in ")
    assert password not in done.stdout


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
        status, document = smoke(broker, "--plan", "slow")
    assert status == 0
    details = {step["name"]: step["detail"] for step in document["steps"]}
    assert (details["provision"], details["deprovision"]) == ("202", "202")


def test_what_a_plan_does_not_offer_is_skipped(
    with_all_plans: dict[str, str], tmp_path: Path
) -> None:
    """No rotation without the plan's word for it: the step is shown as skipped, not as passed."""
    with running_broker(with_all_plans, tmp_path / "broker.log") as broker:
        status, document = smoke(broker, "--service", "postgres", "--plan", "fixed")
    assert status == 0
    assert "rotate" in outcomes(document, "skipped")
    assert not {"rotate", "unbind the predecessor"} & set(outcomes(document, "passed"))


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
        status, document = smoke(broker)
        assert status == 1
        assert "its certificate is not trusted" in failure(document)[1]
        assert smoke(broker, "--ca-file", str(ca_file))[0] == 0
        assert smoke(broker, "--insecure")[0] == 0


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
    for name in WHOLE_LIFE:
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
        status, document = smoke(broker, *options)
    assert status == 1
    name, detail = failure(document)
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
