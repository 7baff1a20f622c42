"""The server processes of a cluster that are alive, whoever started them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

_POLL = 0.02


def server_processes(cluster: Path) -> list[int]:
    """List the processes of the server on a cluster.

    Every server process works in its data directory (PostgreSQL manual, "postgres", ``-D``), which
    holds for children whose postmaster was killed, too; ``postmaster.pid`` does not name those.

    Args:
        cluster: The data directory.

    Returns:
        Process ids; those of other users' processes only when we are root.
    """
    target = cluster.resolve()
    return [pid for pid in _all_processes() if _working_directory(pid) == target]


async def wait_until_gone(cluster: Path, *, within: float) -> bool:
    """Wait until no process of the server is left.

    Args:
        cluster: The data directory.
        within: Seconds to wait.

    Returns:
        ``False`` when some are still there.
    """
    try:
        async with asyncio.timeout(within):
            # The kernel announces the end of a child only, and most of these are not ours.
            while server_processes(cluster):  # noqa: ASYNC110 - see above
                await asyncio.sleep(_POLL)
    except TimeoutError:
        return not server_processes(cluster)
    return True


def kill(cluster: Path) -> None:
    """Kill every process of the server on a cluster, as a power failure would."""
    for pid in server_processes(cluster):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _all_processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _working_directory(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None
