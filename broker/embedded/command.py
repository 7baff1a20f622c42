"""Running a short-lived program to its end, bounded in time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.embedded.errors import EmbeddedPostgresError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from broker.embedded.account import Account

TIMEOUT = 60.0
"""Seconds a program may take; the slowest, ``initdb``, needs about one."""

_READABLE = 0o022


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended.

    Attributes:
        status: Exit status; negative is the signal that ended it.
        output: What it wrote to standard output.
        errors: What it wrote to standard error.
    """

    status: int
    output: str
    errors: str


async def run(
    program: Path, *arguments: str, environment: Mapping[str, str], account: Account | None = None
) -> Finished:
    """Run a program; files it makes can be read by everybody unless it says otherwise.

    Args:
        program: Absolute path.
        arguments: For it.
        environment: All of it.
        account: Who runs it; ``None`` is ourselves.

    Raises:
        EmbeddedPostgresError: It cannot be run, or took longer than ``TIMEOUT``.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            program,
            *arguments,
            env=dict(environment),
            umask=_READABLE,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd="/",
            **(account.credentials if account else {}),
        )
    except OSError as exc:
        raise EmbeddedPostgresError(f"{program} cannot be run: {exc.strerror}.") from exc
    try:
        output, errors = await asyncio.wait_for(process.communicate(), TIMEOUT)
    except TimeoutError:
        raise EmbeddedPostgresError(
            f"{program} did not finish within {TIMEOUT:.0f} seconds."
        ) from None
    finally:
        if process.returncode is None:
            process.kill()
        status = await process.wait()
    return Finished(status, _text(output), _text(errors))


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace").strip()
