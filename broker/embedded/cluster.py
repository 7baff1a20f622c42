"""The cluster on disk: made once, whole or not at all, and what is remembered beside it.

::

    DATA_DIRECTORY/
      pgdata/               PostgreSQL's own data directory
      superuser-password    mode 0600
      port                  the last port, so that credentials handed out stay valid
      server.log            of this start
      ca.crt server.crt server.key
      lock                  held while a broker uses the cluster; marks the directory as ours
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from broker.embedded.configuration import SUPERUSER
from broker.embedded.errors import EmbeddedPostgresError
from broker.embedded.port import choose_port

if TYPE_CHECKING:
    from broker.embedded.account import Account
    from broker.embedded.binaries import Binaries

# The kernel's sun_path has 108 bytes, the last one NUL; the name is the longest the server makes.
_SOCKET_PATH_LIMIT = 107
_SOCKET_NAME = ".s.PGSQL.65535.lock"

_LOG_TAIL = 10


@dataclass(frozen=True, slots=True)
class Cluster:
    """The directory an embedded PostgreSQL lives in.

    Attributes:
        directory: Absolute.
        account: Who owns what is in it.
    """

    directory: Path
    account: Account

    @property
    def pgdata(self) -> Path:
        """PostgreSQL's own data directory."""
        return self.directory / "pgdata"

    @property
    def log(self) -> Path:
        """What the server of this start writes to standard error."""
        return self.directory / "server.log"

    def lock(self) -> IO[str]:
        """Create the directory and take it for this process, until the returned file is closed.

        Raises:
            EmbeddedPostgresError: The directory cannot be used, or another process has it.
        """
        file = self._open_lock()
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            file.close()
            raise EmbeddedPostgresError(
                f"{self.directory} is in use by another pgbroker (process {holder}). "
                "Stop that one, or choose another directory with --data-dir."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        return file

    async def ensure(self, binaries: Binaries, *, sync: bool) -> None:
        """Make the cluster when there is none, and refuse one of another PostgreSQL.

        Args:
            binaries: The PostgreSQL that has to run it.
            sync: Wait until the new files are on disk.

        Raises:
            EmbeddedPostgresError: It is of another major version, or ``initdb`` failed.
        """
        version_file = self.pgdata / "PG_VERSION"
        if not version_file.is_file():
            await self._initialise(binaries, sync=sync)
        version = version_file.read_text("ascii").strip()
        if version != str(binaries.version):
            raise EmbeddedPostgresError(
                f"The data in {self.directory} is PostgreSQL {version}'s, and {binaries.directory} "
                f"is PostgreSQL {binaries.version}. Run it with a PostgreSQL {version} (option "
                "--postgres-bin), or choose another directory with --data-dir, or delete this one "
                "to start afresh."
            )

    def superuser_password(self) -> str:
        """Return the superuser's password, drawn at the first call and kept in a file."""
        file = self.directory / "superuser-password"
        if not file.exists():
            self._write(file, secrets.token_urlsafe(32))
        return file.read_text("ascii")

    def choose_port(self) -> int:
        """Return the port of the last start if it is free, else a free one, and remember it.

        Raises:
            EmbeddedPostgresError: There is hardly a free one left.
        """
        file = self.directory / "port"
        remembered = None
        with contextlib.suppress(OSError, ValueError):
            remembered = int(file.read_text("ascii"))
        port = choose_port(remembered)
        if port != remembered:
            self._write(file, str(port))
        return port

    def socket_directory(self) -> Path:
        """Return where the Unix-domain socket can be: here, or, if that is too long, elsewhere."""
        if len(os.fsencode(self.directory / _SOCKET_NAME)) <= _SOCKET_PATH_LIMIT:
            return self.directory
        short = Path(tempfile.mkdtemp(prefix="pgbroker-", dir="/tmp"))
        self.account.own(short)
        return short

    def log_tail(self) -> str:
        """Return a sentence with the last lines of the server's log, for an error message."""
        lines = self.log.read_text("utf-8", "replace").splitlines()[-_LOG_TAIL:]
        return "\n".join((f"The end of {self.log}:", *lines))

    def configure(self, *, settings: str, hba: str) -> None:
        """Write ``postgresql.conf`` and ``pg_hba.conf``."""
        self._write(self.pgdata / "postgresql.conf", settings)
        self._write(self.pgdata / "pg_hba.conf", hba)

    def _open_lock(self) -> IO[str]:
        remedy = "Choose another directory with --data-dir."
        marker = self.directory / "lock"
        try:
            nearest = next(step for step in self.directory.parents if step.exists())
            self.account.require_access(nearest, remedy=remedy)
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            # What is somebody else's must neither change hands nor be closed to them.
            if not marker.exists() and any(self.directory.iterdir()):
                raise EmbeddedPostgresError(
                    f"{self.directory} is not empty and was not made by pgbroker. {remedy}"
                )
            self.account.own(self.directory)
            self.directory.chmod(0o700)
            return marker.open("a+", encoding="ascii")
        except OSError as exc:
            raise EmbeddedPostgresError(
                f"Cannot keep PostgreSQL in {self.directory}: {exc.strerror}. {remedy}"
            ) from exc

    async def _initialise(self, binaries: Binaries, *, sync: bool) -> None:
        # initdb leaves a directory that looks like a cluster when it is killed; a rename does not.
        for remains in self.directory.glob("initdb-*"):
            shutil.rmtree(remains)
        self.superuser_password()
        with tempfile.TemporaryDirectory(prefix="initdb-", dir=self.directory) as staging:
            self.account.own(Path(staging))
            made = Path(staging) / "pgdata"
            await binaries.run(
                "initdb",
                f"--pgdata={made}",
                f"--username={SUPERUSER}",
                f"--pwfile={self.directory / 'superuser-password'}",
                "--auth=scram-sha-256",
                "--data-checksums",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-instructions",
                *([] if sync else ["--no-sync"]),
                account=self.account,
            )
            made.rename(self.pgdata)

    def _write(self, file: Path, content: str) -> None:
        """Replace a file in one step, readable for the account only."""
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}.")
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(content)
        self.account.own(Path(name))
        Path(name).replace(file)
