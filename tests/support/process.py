"""The program itself: ``pgbroker serve`` and other commands in processes of their own."""

from __future__ import annotations

import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Timer
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.support.postgres import PostgresServer

PATIENCE = 30
"""Seconds that anything may take at most."""

USERNAME, PASSWORD = "olivia", "operators-password-1"

_PROGRAM = (sys.executable, "-m", "broker.cli")
_STARTS = 5


@dataclass(slots=True)
class BrokerProcess:
    """A running ``pgbroker serve``.

    Attributes:
        url: Without credentials.
        username: For Basic authentication.
        password: Likewise.
        client: With the credentials and the version header.
        process: The program.
        log_file: Its standard output and error.
    """

    url: str
    username: str
    password: str = field(repr=False)
    client: httpx.Client
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def url_with_credentials(self) -> str:
        """Return the URL as ``pgbroker smoke`` takes it."""
        return self.url.replace("://", f"://{self.username}:{self.password}@", 1)

    def log_text(self) -> str:
        """Return everything it has written so far."""
        return self.log_file.read_text("utf-8")

    def kill(self) -> None:
        """End it without giving it a chance to tidy up."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def stop(self) -> int:
        """End it as an orchestrator does; return its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


def environment(
    postgres: PostgresServer, state_dsn: str, directory: Path, **settings: str
) -> dict[str, str]:
    """Compose the environment of ``pgbroker serve``, and write the servers file it names.

    Args:
        postgres: Holds the tenants.
        state_dsn: A migrated state database.
        directory: For the file.
        settings: More ``PGBROKER_*`` variables, without the prefix.
    """
    server: dict[str, Any] = {
        "name": "shared",
        "admin_dsn": postgres.broker_dsn(),
        "host": postgres.host,
        "port": postgres.port,
        "sslmode": "prefer" if postgres.ca_certificate is None else "require",
    }
    if postgres.ca_certificate is not None:
        server["ca_certificate"] = postgres.ca_certificate
    servers_file = directory / "servers.yaml"
    servers_file.write_text(json.dumps({"servers": [server]}), "utf-8")
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    variables = {
        "STATE_DSN": state_dsn,
        "SERVERS_FILE": str(servers_file),
        "USERNAME": USERNAME,
        "PASSWORD": PASSWORD,
        "ENCRYPTION_KEYS": f"test:{key}",
        **settings,
    }
    return {f"PGBROKER_{name}": value for name, value in variables.items()}


@contextmanager
def running_broker(environ: Mapping[str, str], log_file: Path) -> Iterator[BrokerProcess]:
    """Run ``pgbroker serve`` on a free port until the context is left.

    Args:
        environ: Its ``PGBROKER_*`` variables; without ``PGBROKER_BIND``, any free port will do.
        log_file: For what it writes; appended to.
    """
    url, process = _start(environ, log_file)
    headers = {"X-Broker-API-Version": "2.17"}
    username, password = environ["PGBROKER_USERNAME"], environ["PGBROKER_PASSWORD"]
    try:
        with httpx.Client(
            base_url=url,
            auth=httpx.BasicAuth(username, password),
            headers=headers,
            timeout=PATIENCE,
            verify=False,  # noqa: S501 -- whoever tests TLS looks at certificates, this does not
        ) as client:
            yield BrokerProcess(url, username, password, client, process, log_file)
    finally:
        _end(process)


def run_program(
    *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command of ``pgbroker`` to its end.

    Args:
        arguments: Of the program.
        environ: Its ``PGBROKER_*`` variables.
    """
    return subprocess.run(
        [*_PROGRAM, *arguments],
        env=_without_settings() | dict(environ or {}),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )


@contextmanager
def started_program(
    *arguments: str, environ: Mapping[str, str] | None = None, stdout: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[str]]:
    """Start a command of ``pgbroker``, to do something to it; it has ended afterwards.

    Args:
        arguments: Of the program.
        environ: Its ``PGBROKER_*`` variables.
        stdout: Where its output goes.
    """
    with subprocess.Popen(
        [*_PROGRAM, *arguments],
        env=_without_settings() | dict(environ or {}),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            _end(process)


def read_until(process: subprocess.Popen[str], mark: str) -> str:
    """Read a program's output up to the line that has a mark in it.

    Raises:
        AssertionError: The output ended before, or the program had to be ended for its silence.
    """
    assert process.stdout is not None
    seen = ""
    silence = Timer(PATIENCE, process.kill)
    silence.start()
    try:
        for line in process.stdout:
            seen += line
            if mark in line:
                return seen
    finally:
        silence.cancel()
    raise AssertionError(f"the program never wrote {mark!r}, but:\n{seen}")


def _start(environ: Mapping[str, str], log_file: Path) -> tuple[str, subprocess.Popen[bytes]]:
    for _ in range(_STARTS):
        address = environ.get("PGBROKER_BIND") or f"127.0.0.1:{free_port()}"
        scheme = "https" if "PGBROKER_TLS_CERT_FILE" in environ else "http"
        with log_file.open("ab") as log:
            process = subprocess.Popen(
                [*_PROGRAM, "serve"],
                env={**_without_settings(), **environ, "PGBROKER_BIND": address},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        url = f"{scheme}://{address}"
        if _is_ready(process, f"{url}/readyz"):
            return url, process
        if "Cannot listen" not in log_file.read_text("utf-8"):
            break  # otherwise somebody was quicker to take the port
    _end(process)
    raise AssertionError(f"the broker did not start:\n{log_file.read_text('utf-8')}")


def _is_ready(process: subprocess.Popen[bytes], url: str) -> bool:
    with httpx.Client(verify=False, timeout=PATIENCE) as client:  # noqa: S501 -- see above
        for _ in range(20 * PATIENCE):
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                try:
                    if client.get(url).status_code == httpx.codes.OK:
                        return True
                except httpx.TransportError:
                    continue  # it does not listen yet
            else:
                return False
    return False


def _end(process: subprocess.Popen[Any]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(PATIENCE)
        raise


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PGBROKER_")}
