"""What a run is said to have been: a table, and how to replay it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter

    from tests.chaos.run import Result


def table(result: Result) -> str:
    """Return the result of a run as text."""
    return "\n".join(
        (
            f"chaos for {result.seconds:.0f} s, seed {result.seed}",
            "",
            *_counted("done by clients", result.work),
            "",
            *_counted("faults", result.faults),
            "",
            f"violations: {len(result.violations)}",
            *(f"  {violation}" for violation in result.violations),
            "",
            f"again: make chaos SECONDS={result.seconds:.0f} SEED={result.seed}",
        )
    )


def _counted(title: str, counts: Counter[str]) -> list[str]:
    return [
        f"{title:<34}{counts.total():>7}",
        *(f"  {name:<32}{count:>7}" for name, count in sorted(counts.items())),
    ]
