"""Run chaos: ``python -m tests.chaos --seconds 600 --seed 4711``."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import shutil
import sys

from tests.chaos.report import table
from tests.chaos.run import run
from tests.support.postgres import server_directory


def main() -> None:
    """Run once and exit with 1 when the invariant was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long faults are injected")
    parser.add_argument("--seed", default="", help="of a run to repeat; else a new one")
    parser.add_argument("--keep", help="a directory to keep the logs in")
    chosen = parser.parse_args()
    seed = chosen.seed or secrets.token_hex(4)
    _tell(f"seed {seed}")
    with server_directory() as directory:
        try:
            result = asyncio.run(run(seed, chosen.seconds, directory, tell=_tell))
        finally:
            if chosen.keep:
                shutil.copytree(directory / "replicas", chosen.keep, dirs_exist_ok=True)
    _tell(table(result))
    sys.exit(1 if result.violations else 0)


def _tell(line: str) -> None:
    print(line, flush=True)  # noqa: T201 -- it is what it is for


if __name__ == "__main__":
    main()
