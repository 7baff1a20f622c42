"""The server's main process: spawned, waited for, ended."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from enum import Enum
from typing import TYPE_CHECKING

from broker.embedded import launch
from broker.embedded.errors import EmbeddedPostgresError
from broker.embedded.processes import kill, server_processes, wait_until_gone

if TYPE_CHECKING:
    from broker.embedded.binaries import Binaries
    from broker.embedded.cluster import Cluster

START_TIMEOUT = 60.0
"""Seconds until a server must accept connections; only recovery after a crash takes long."""

STOP_TIMEOUT = 10.0
"""Seconds each way of stopping is given before the next, rougher one."""

_POLL = 0.01
_STATUS_LINE = 7  # of postmaster.pid, counted from 0 (src/include/utils/pidfile.h)


class StopMode(Enum):
    """How to stop the server (PostgreSQL manual, "Shutting Down the Server")."""

    FAST = signal.SIGINT
    """End all sessions, write a checkpoint."""
    IMMEDIATE = signal.SIGQUIT
    """Stop at once; the next start recovers."""
    KILL = signal.SIGKILL
    """Kill every process; the next start recovers."""


async def spawn(cluster: Cluster, binaries: Binaries) -> asyncio.subprocess.Process:
    """Start the main process, which the kernel ends when the calling thread does.

    Its output goes to ``cluster.log``. Ctrl-C in the terminal does not reach it: that is for the
    broker, which needs its state until the last request is answered and then stops the server.
    """
    with cluster.log.open("wb") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", launch.__file__),
            *(str(os.getpid()), str(cluster.account.uid), str(cluster.account.gid)),
            *(str(binaries.directory / "postgres"), "-D", str(cluster.pgdata)),
            env=binaries.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )


async def ready(cluster: Cluster, process: asyncio.subprocess.Process) -> bool:
    """Wait until the server accepts connections.

    Returns:
        ``False`` when it ended instead.

    Raises:
        EmbeddedPostgresError: It did neither within ``START_TIMEOUT``.
    """
    try:
        async with asyncio.timeout(START_TIMEOUT):
            while process.returncode is None:
                if _status(cluster, process.pid) == "ready":
                    return True
                await asyncio.sleep(_POLL)
    except TimeoutError:
        raise EmbeddedPostgresError(
            f"PostgreSQL was not ready within {START_TIMEOUT:.0f} seconds. {cluster.log_tail()}"
        ) from None
    return False


async def end(cluster: Cluster, process: asyncio.subprocess.Process, mode: StopMode) -> None:
    """End the server and wait until none of its processes is left.

    Args:
        cluster: What it runs on.
        process: The main process.
        mode: The way to begin with; rougher ones follow when one takes longer than
            ``STOP_TIMEOUT``.
    """
    modes = list(StopMode)
    for current in modes[modes.index(mode) :]:
        if current is StopMode.KILL:
            kill(cluster.pgdata)
        elif process.returncode is None:
            process.send_signal(current.value)
        if await wait_until_gone(cluster.pgdata, within=STOP_TIMEOUT):
            break
    await process.wait()


async def end_leftover(cluster: Cluster) -> None:
    """End the server of a broker that was killed: wait, since the kernel has told it to shut down.

    Raises:
        EmbeddedPostgresError: Some process of it cannot be ended.
    """
    if await wait_until_gone(cluster.pgdata, within=STOP_TIMEOUT):
        return
    kill(cluster.pgdata)
    if not await wait_until_gone(cluster.pgdata, within=STOP_TIMEOUT):
        raise EmbeddedPostgresError(
            f"A PostgreSQL server still runs on {cluster.pgdata} and cannot be ended. End its "
            f"processes {server_processes(cluster.pgdata)}, then start again."
        )


def _status(cluster: Cluster, pid: int) -> str | None:
    """Read what the main process says of itself, the way pg_ctl does."""
    try:
        lines = (cluster.pgdata / "postmaster.pid").read_text("utf-8").split("\n")
    except FileNotFoundError:
        return None
    if lines[0] != str(pid) or len(lines) <= _STATUS_LINE:
        return None
    return lines[_STATUS_LINE].strip()
