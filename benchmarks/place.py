"""Where it is measured: a durable PostgreSQL and a broker in a process of its own.

Belongs here: starting and stopping both, in a temporary directory that is gone afterwards.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import psycopg

from benchmarks.warm import with_warm_plan
from broker.embedded import EmbeddedPostgres
from broker.postgres.prepare import prepare
from broker.store import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

_ROLE = "pgbroker"
_CATALOG = Path(__file__).parents[1] / "catalog.yaml"
_START_SECONDS = 30
_SETTINGS = {"max_connections": "200", "fsync": "on", "synchronous_commit": "on"}


@dataclass(frozen=True, slots=True)
class Place:
    """A broker and its server.

    Attributes:
        broker_address: Host and port.
        broker_pid: Its process.
        headers: What every request to the broker needs.
        host: Of the server.
        port: Likewise.
        sslmode: How tenants connect.
        broker_dsn: libpq URI of the broker's role.
        postgres_version: As the server tells it.
    """

    broker_address: tuple[str, int]
    broker_pid: int
    headers: Mapping[str, str] = field(repr=False)
    host: str
    port: int
    sslmode: str
    broker_dsn: str = field(repr=False)
    postgres_version: str


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    """Start everything, and stop it when the context is left."""
    with _temporary_directory() as directory:
        async with EmbeddedPostgres(
            directory / "server", settings=_SETTINGS, broker_role=_ROLE
        ) as postgres:
            role_password, password = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
            await prepare(
                postgres.superuser_dsn(),
                role=_ROLE,
                password=role_password,
                maintenance_database=_ROLE,
            )
            dsn = f"postgresql://{_ROLE}:{role_password}@{postgres.host}:{postgres.port}/{_ROLE}"
            await migrate(dsn)
            sslmode = "prefer" if postgres.ca_certificate is None else "require"
            server = {
                "name": "bench",
                "admin_dsn": dsn,
                "host": postgres.host,
                "port": postgres.port,
                "sslmode": sslmode,
            }
            servers_file = directory / "servers.yaml"
            servers_file.touch(0o600)
            servers_file.write_text(json.dumps({"servers": [server]}), "utf-8")
            catalog_file = directory / "catalog.yaml"
            catalog_file.write_text(with_warm_plan(_CATALOG), "utf-8")
            port = _free_port()
            environ = {
                "PGBROKER_CATALOG_FILE": str(catalog_file),
                "PGBROKER_STATE_DSN": dsn,
                "PGBROKER_SERVERS_FILE": str(servers_file),
                "PGBROKER_USERNAME": "bench",
                "PGBROKER_PASSWORD": password,
                "PGBROKER_ENCRYPTION_KEYS": f"bench:{base64.b64encode(os.urandom(32)).decode()}",
                "PGBROKER_BIND": f"127.0.0.1:{port}",
            }
            with _serving(environ, directory / "broker.log") as pid:
                yield Place(
                    broker_address=("127.0.0.1", port),
                    broker_pid=pid,
                    headers=_headers("bench", password, environ["PGBROKER_BIND"]),
                    host=postgres.host,
                    port=postgres.port,
                    sslmode=sslmode,
                    broker_dsn=dsn,
                    postgres_version=await _version(dsn),
                )


@contextmanager
def _temporary_directory() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="pgbroker-bench-"))
    directory.chmod(0o711)  # the server's user has to pass, not to look around
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def _serving(environ: dict[str, str], log_file: Path) -> Iterator[int]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("PGBROKER_")}
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "broker.cli", "serve"],
            env=inherited | environ,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Ctrl-C is for the benchmark, which then stops the broker.
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, f"http://{environ['PGBROKER_BIND']}", log_file)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log_file: Path) -> None:
    for _ in range(10 * _START_SECONDS):
        try:
            process.wait(0.1)
            break
        except subprocess.TimeoutExpired:
            try:
                if httpx.get(f"{url}/readyz").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                continue  # it does not listen yet
    raise RuntimeError(f"The broker did not start:\n{log_file.read_text('utf-8')}")


def _headers(username: str, password: str, authority: str) -> dict[str, str]:
    token = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
    return {
        "Host": authority,
        "Authorization": f"Basic {token}",
        "X-Broker-API-Version": "2.17",
    }


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


async def _version(dsn: str) -> str:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        return connection.info.parameter_status("server_version") or "of unknown version"
