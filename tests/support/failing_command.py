"""Commands of ``pgbroker`` that die, as with ``kill -9``, right behind one of their writes.

The product knows nothing of this: the driver's statements are counted here, on the servers and in
the state alike, and COMMITs.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from broker.cli import main
from tests.support.faults_replica import NURSERY
from tests.support.faults_waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_READS = re.compile(r"\s*(SELECT|SHOW|EXECUTE|PREPARE|BEGIN|ROLLBACK)\b", re.IGNORECASE)


NEVER = 0
"""Behind no write at all."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command has ended.

    Attributes:
        status: Its exit status; negative for a signal.
        output: What it wrote.
    """

    status: int
    output: str

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return self.status == -signal.SIGKILL


async def run_command(
    *arguments: str, environ: Mapping[str, str], directory: Path, killed_behind: int = NEVER
) -> Ended:
    """Run a command of ``pgbroker`` to its end, or to that of a certain write.

    Args:
        arguments: Of the program.
        environ: Its ``PGBROKER_*`` variables.
        directory: For what it writes.
        killed_behind: The number of the write, from 1.
    """
    log_file = directory / "command.log"
    process = NURSERY.Process(target=_run, args=(arguments, dict(environ), log_file, killed_behind))
    process.start()
    await until(lambda: not process.is_alive(), what=f"{arguments} ends")
    process.join()
    return Ended(process.exitcode or 0, _text(log_file))


def _text(log_file: Path) -> str:
    return log_file.read_text("utf-8")


def _run(
    arguments: tuple[str, ...], environ: Mapping[str, str], log_file: Path, behind: int
) -> None:
    with log_file.open("wb") as log:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(log.fileno(), stream.fileno())
    for name in [name for name in os.environ if name.startswith("PGBROKER_")]:
        del os.environ[name]
    os.environ.update(environ)
    _count(behind)
    sys.argv = ["pgbroker", *arguments]
    main()


def _count(behind: int) -> None:
    execute, commit = psycopg.AsyncCursor.execute, psycopg.AsyncConnection.commit
    written = 0

    def wrote() -> None:
        nonlocal written
        written += 1
        if written == behind:
            os.kill(os.getpid(), signal.SIGKILL)

    async def counting_execute(self: Any, query: Any, *rest: Any, **options: Any) -> Any:
        found = await execute(self, query, *rest, **options)
        text = query if isinstance(query, (str, bytes)) else query.as_string(self.connection)
        if not _READS.match(text.decode() if isinstance(text, bytes) else text):
            wrote()
        return found

    async def counting_commit(self: Any) -> None:
        await commit(self)
        wrote()

    for owner, name, replacement in (
        (psycopg.AsyncCursor, "execute", counting_execute),
        (psycopg.AsyncConnection, "commit", counting_commit),
    ):
        setattr(owner, name, replacement)
