"""The PostgreSQL server of a test run."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from psycopg import AsyncConnection

from broker.embedded import EmbeddedPostgres
from broker.postgres.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from psycopg.rows import TupleRow

BROKER_ROLE = "pgbroker"

BIN_VARIABLE = "PGBROKER_TEST_POSTGRES_BIN"
"""Environment variable: the ``bin`` directory of another PostgreSQL to test with."""

# Durability costs time and proves nothing here: a crash test kills processes, not the machine.
TEST_SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "64MB",
    "max_wal_size": "256MB",
}

_PREFIX = "pgbroker-test-"


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A running server, prepared for the broker.

    Attributes:
        host: Address.
        port: TCP port.
        version: Major version.
        data_directory: Of the embedded PostgreSQL; ``pgdata`` in it is the server's own.
        bin_directory: Where its programs are.
        ca_certificate: PEM to verify it with; ``None`` when the build has no TLS.
    """

    host: str
    port: int
    version: int
    data_directory: Path
    bin_directory: Path
    ca_certificate: str | None = field(repr=False)
    _superuser_dsn: str = field(repr=False)
    _broker_password: str = field(repr=False)

    def superuser_dsn(self, dbname: str = "postgres") -> str:
        """Return a libpq URI for the superuser, to look at what the broker cannot see."""
        before, _, after = self._superuser_dsn.partition("@/postgres?")
        return f"{before}@/{quote(dbname, safe='')}?{after}"

    @asynccontextmanager
    async def superuser(self, dbname: str) -> AsyncIterator[AsyncConnection[TupleRow]]:
        """Open a superuser's session, in autocommit mode; afterwards the server has ended it, too.

        While it is there its database cannot be dropped or renamed by the broker, and a closed
        connection is not an ended session yet.
        """
        async with await AsyncConnection.connect(
            self.superuser_dsn(dbname), autocommit=True
        ) as session:
            pid = session.info.backend_pid
            yield session
        look = "SELECT FROM pg_stat_activity WHERE pid = %s"
        async with (
            asyncio.timeout(10),
            await AsyncConnection.connect(self.superuser_dsn(), autocommit=True) as observer,
        ):
            while (await observer.execute(look, [pid])).rowcount:
                pass  # each question is a round trip, which lets others run

    def broker_dsn(self, dbname: str = "pgbroker") -> str:
        """Return a libpq URI for the broker's unprivileged role, over TCP."""
        return self.dsn(BROKER_ROLE, self._broker_password, dbname)

    def dsn(self, user: str, password: str, dbname: str) -> str:
        """Return a libpq URI for anybody, over TCP."""
        login = f"{quote(user, safe='')}:{quote(password, safe='')}"
        return f"postgresql://{login}@{self.host}:{self.port}/{quote(dbname, safe='')}"

    def to_plain(self) -> dict[str, Any]:
        """Return the constructor's arguments as execnet can send them to a worker."""
        return {
            name: str(value) if isinstance(value := getattr(self, name), Path) else value
            for name in self.__slots__
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> PostgresServer:
        """Rebuild what ``to_plain`` took apart."""
        paths = {name: Path(plain[name]) for name in ("data_directory", "bin_directory")}
        return cls(**(plain | paths))


@contextmanager
def server_directory() -> Iterator[Path]:
    """Make a directory for servers and remove it afterwards.

    It is directly below the system's temporary directory, because PostgreSQL may run as another
    user, who cannot enter pytest's. What a killed run left behind is removed by the next one.
    """
    _remove_abandoned()
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
    directory.chmod(0o711)  # the server's user has to pass, not to look around
    try:
        with (directory / "in-use").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def embedded_postgres(directory: Path, **settings: str) -> EmbeddedPostgres:
    """Describe a server of the version under test, for a test that stops or kills it.

    Args:
        directory: Its data directory, in a ``server_directory``.
        settings: For ``postgresql.conf``, on top of ``TEST_SETTINGS``.
    """
    chosen = os.environ.get(BIN_VARIABLE)
    return EmbeddedPostgres(
        directory,
        settings=TEST_SETTINGS | settings,
        postgres_bin=Path(chosen) if chosen else None,
        broker_role=BROKER_ROLE,
    )


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Run a server until the context is left; it dies with this process, too."""
    with server_directory() as directory, asyncio.Runner() as runner:
        embedded = embedded_postgres(directory / "server")
        runner.run(embedded.start())
        try:
            yield runner.run(_prepared(embedded))
        finally:
            runner.run(embedded.stop())


async def _prepared(embedded: EmbeddedPostgres) -> PostgresServer:
    password = secrets.token_urlsafe(24)
    await prepare(
        embedded.superuser_dsn(),
        role=BROKER_ROLE,
        password=password,
        maintenance_database=BROKER_ROLE,
    )
    return PostgresServer(
        host=embedded.host,
        port=embedded.port,
        version=embedded.version,
        data_directory=embedded.data_directory,
        bin_directory=embedded.bin_directory,
        ca_certificate=embedded.ca_certificate,
        _superuser_dsn=embedded.superuser_dsn(),
        _broker_password=password,
    )


def _remove_abandoned() -> None:
    for directory in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        try:
            with (directory / "in-use").open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
        except OSError:
            continue  # in use, being made at this moment, or somebody else's
