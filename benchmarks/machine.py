"""What the figures were measured on, without anything that would identify the machine."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def describe(postgres_version: str, *, load_before: float) -> dict[str, str]:
    """Return the machine's description, by heading.

    Args:
        postgres_version: As the server tells it.
        load_before: How many processes wanted a processor, on average over the minute before:
            above zero, the figures are worse than they would be on a machine that has nothing
            else to do.
    """
    return {
        "CPU": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} cores",
        "Memory": f"{_memory_gib():.0f} GiB",
        "Kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "PostgreSQL": f"{postgres_version}, fsync on, synchronous_commit on",
        "Load": f"{load_before:.1f} before it began",
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
