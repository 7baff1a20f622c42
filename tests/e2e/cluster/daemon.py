"""One process of the control plane."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE = 120
"""Seconds that a program may take to start, on a busy machine."""

_GRACE = 15
_PAUSE = 0.1


@contextmanager
def running(
    program: Path, *arguments: str, log_file: Path, is_ready: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program until the context is left.

    Args:
        program: What to run.
        arguments: Of the program.
        log_file: For what it writes.
        is_ready: Tells whether it can be used.

    Raises:
        AssertionError: It ended, or was not ready in time; with the end of what it wrote.
    """
    with (
        log_file.open("wb") as log,
        subprocess.Popen(
            [program, *arguments],
            env={**os.environ, "NO_PROXY": "127.0.0.1"},
            cwd=log_file.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            _wait(process, is_ready, log_file)
            yield process
        finally:
            _end(process)


def answers(url: str, trust: ssl.SSLContext | None = None, *, status: int = 200) -> bool:
    """Tell whether an endpoint answers as expected.

    Args:
        url: Of the endpoint.
        trust: Whom to believe, for https; anybody when left out.
        status: The expected status code.
    """
    try:
        return httpx.get(url, verify=trust or False, timeout=5).status_code == status
    except httpx.TransportError:
        return False


def _wait(process: subprocess.Popen[bytes], is_ready: Callable[[], bool], log_file: Path) -> None:
    for _ in range(int(PATIENCE / _PAUSE)):
        try:
            process.wait(_PAUSE)
        except subprocess.TimeoutExpired:
            if is_ready():
                return
        else:
            break
    end_of_log = log_file.read_text("utf-8", errors="replace")[-3000:]
    state = "is not ready" if process.poll() is None else f"ended with {process.returncode}"
    raise AssertionError(f"{log_file.stem} {state}:\n{end_of_log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_GRACE)
