"""``python -m tests.matrix [VERSION...] -- PYTEST_ARGUMENTS``: run tests with each PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.matrix.fetch import VERSIONS, MatrixError, bin_directory
from tests.support.postgres import BIN_VARIABLE


def main(arguments: list[str]) -> int:
    """Run pytest once per version, all of them whatever fails, and print a line for each.

    Returns:
        The exit status: 0 when every run passed.
    """
    split = arguments.index("--") if "--" in arguments else len(arguments)
    versions, pytest_arguments = arguments[:split] or list(VERSIONS), arguments[split + 1 :]
    if unknown := [version for version in versions if version not in VERSIONS]:
        print(f"PostgreSQL {', '.join(unknown)} is not one of {', '.join(VERSIONS)}.")
        return 2
    summary: dict[str, str] = {}
    for version in versions:
        print(f"\n== PostgreSQL {version} ==", flush=True)
        began = time.monotonic()
        try:
            environment = os.environ | {BIN_VARIABLE: str(bin_directory(version))}
        except MatrixError as exc:
            summary[version] = str(exc)
            continue
        status = subprocess.run(
            [sys.executable, "-m", "pytest", *pytest_arguments], env=environment, check=False
        ).returncode
        took = f"{time.monotonic() - began:.1f} s"
        summary[version] = f"passed in {took}" if status == 0 else f"FAILED in {took} ({status})"
    print()
    for version, result in summary.items():
        print(f"PostgreSQL {version}: {result}")
    return 0 if all(result.startswith("passed") for result in summary.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
