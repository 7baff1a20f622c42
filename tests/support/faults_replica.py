"""Replicas of the broker, in processes of their own, to be killed, frozen, stopped and restarted.

Belongs here: what an orchestrator, a crash or a signal does to ``pgbroker serve``.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from broker.bootstrap import production  # noqa: F401 -- to be there before it is forked
from broker.cli import main
from tests.support.catalog import CATALOG
from tests.support.failing_broker import wrap
from tests.support.faults_failpoints import Failpoints
from tests.support.faults_waiting import PATIENCE, until
from tests.support.process import environment, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.context import ForkServerProcess

    from tests.support.postgres import PostgresServer

LEASE = 1
"""Seconds that an operation stays with a replica that has gone silent."""

_STARTS = 5

# The program is imported once and forked for each start, which is ten times as quick as an
# interpreter that begins with nothing.
NURSERY = multiprocessing.get_context("forkserver")
NURSERY.set_forkserver_preload([__name__])


@dataclass(slots=True)
class Replica:
    """One ``pgbroker serve``; it listens at the same address for as long as it can.

    Attributes:
        name: For messages.
        environ: Its ``PGBROKER_*`` variables but for the address.
        log_file: For what it writes; appended to.
        port: Where it listens on loopback.
        failpoints: The directory of its failpoints, if it has some.
    """

    name: str
    environ: Mapping[str, str] = field(repr=False)
    log_file: Path
    port: int = field(default_factory=free_port)
    failpoints: Path | None = None
    _process: ForkServerProcess | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where it listens, whether or not it runs."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether it runs; a frozen one does."""
        return self._process is not None and self._process.is_alive()

    def spawn(self) -> None:
        """Start it, without waiting for it."""
        assert not self.alive, f"{self.name} runs already"
        environ = {**self.environ, "PGBROKER_BIND": f"127.0.0.1:{self.port}"}
        self._process = NURSERY.Process(
            target=_run, args=(environ, self.log_file, self.failpoints), name=self.name
        )
        self._process.start()

    async def start(self, *, ready: bool = True) -> None:
        """Start it, unless it is being started, and wait until it answers.

        Args:
            ready: Wait until it has its state database, too.
        """
        for _ in range(_STARTS):
            if not self.alive:
                self.spawn()
            async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE) as client:
                await until(
                    lambda: self._ended_or_answers(client, ready=ready),
                    what=f"{self.name} answers",
                )
            if self.alive:
                return
            self.port = free_port()  # somebody was quicker to take it
        raise AssertionError(f"{self.name} did not start:\n{self.log_file.read_text('utf-8')}")

    async def _ended_or_answers(self, client: httpx.AsyncClient, *, ready: bool) -> bool:
        if not self.alive:
            return True
        try:
            response = await client.get("/readyz" if ready else "/healthz")
        except httpx.TransportError:
            return False
        return response.status_code == httpx.codes.OK

    def kill(self) -> None:
        """``kill -9``; a frozen process dies of it, too."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self.reap()

    def freeze(self) -> None:
        """Stop its clock: SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on: SIGCONT."""
        self._signal(signal.SIGCONT)

    def ask_to_stop(self) -> None:
        """Do what an orchestrator does first: SIGTERM."""
        self._signal(signal.SIGTERM)

    def reap(self) -> int:
        """Wait for its end; return its exit status."""
        assert self._process is not None
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, f"{self.name} does not end"
        return self._process.exitcode

    async def stopped(self) -> int:
        """Wait for its end, letting others run meanwhile; return its exit status."""
        await until(lambda: not self.alive, what=f"{self.name} ends")
        return self.reap()

    def _signal(self, number: int) -> None:
        if self._process is not None and self.alive:
            assert self._process.pid is not None
            os.kill(self._process.pid, number)


def _run(environ: Mapping[str, str], log_file: Path, failpoints: Path | None) -> None:
    """Be ``pgbroker serve``, in a process of its own."""
    with log_file.open("ab") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
    for name in [name for name in os.environ if name.startswith("PGBROKER_")]:
        del os.environ[name]
    os.environ.update(environ)
    if failpoints is not None:
        wrap(Failpoints(failpoints))
    sys.argv = ["pgbroker", "serve"]
    main()


def name_once(environ: Mapping[str, str]) -> None:
    """Leave one name for the server: nobody else uses its role, whose password is changed.

    Args:
        environ: Of replicas whose catalog needs no other pool.
    """
    servers_file = Path(environ["PGBROKER_SERVERS_FILE"])
    servers = json.loads(servers_file.read_text("utf-8"))["servers"]
    servers_file.write_text(json.dumps({"servers": servers[:1]}), "utf-8")


def replica_environment(
    postgres: PostgresServer, state_dsn: str, directory: Path, **settings: str
) -> dict[str, str]:
    """Compose the environment of replicas: all plans, a short lease.

    Args:
        postgres: Holds the tenants.
        state_dsn: A migrated state database.
        directory: For the files.
        settings: More ``PGBROKER_*`` variables, without the prefix.
    """
    chosen = {"LEASE_SECONDS": str(LEASE), **settings}
    environ = environment(postgres, state_dsn, directory, **chosen)
    servers_file = directory / "servers.yaml"
    (server,) = json.loads(servers_file.read_text("utf-8"))["servers"]
    servers = [server, {**server, "name": "other", "pool": "other"}]
    servers_file.write_text(json.dumps({"servers": servers}), "utf-8")
    catalog_file = directory / "catalog.yaml"
    catalog_file.write_text(CATALOG, "utf-8")
    environ["PGBROKER_CATALOG_FILE"] = settings.get("CATALOG_FILE", str(catalog_file))
    return environ
