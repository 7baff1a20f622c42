"""What a run came to: for people and for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from broker.smoke.display import milliseconds
from broker.smoke.journal import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from broker.smoke.journal import Step


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that may still be there.

    Attributes:
        kind: ``instance`` or ``binding``.
        id: Its id.
        request: What deletes it.
    """

    kind: str
    id: str
    request: str


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a run.

    Attributes:
        url: The broker, without credentials.
        steps: What was done.
        seconds: How long it took.
        problem: What ended it early, if no step says so.
        left_behind: What could not be cleaned up.
    """

    url: str
    steps: Sequence[Step]
    seconds: float
    problem: str | None
    left_behind: Sequence[Leftover]

    @property
    def passed(self) -> bool:
        """Whether everything was as it should be, to the end."""
        failed = any(step.outcome is Outcome.FAILED for step in self.steps)
        return not (failed or self.problem or self.left_behind)

    def print(self, console: Console, *, as_json: bool) -> None:
        """Print the result; the steps have been shown already, unless a program reads it."""
        if as_json:
            console.file.write(f"{json.dumps(self._document(), indent=2, ensure_ascii=False)}\n")
            return
        total = milliseconds(self.seconds)
        if self.passed:
            count = sum(step.outcome is Outcome.PASSED for step in self.steps)
            console.print(f"passed: {count} steps in {total}", style="green", highlight=False)
        else:
            failed = [step.name for step in self.steps if step.outcome is Outcome.FAILED]
            reason = self.problem or ", ".join(failed)
            console.print(f"failed: {reason}, after {total}", style="red", highlight=False)
        if self.left_behind:
            console.print("These may still exist. Once the broker can be reached, send it:")
        for leftover in self.left_behind:
            console.print(f"  {leftover.request}", highlight=False, markup=False, soft_wrap=True)

    def _document(self) -> dict[str, object]:
        return {
            "url": self.url,
            "passed": self.passed,
            "seconds": round(self.seconds, 6),
            "problem": self.problem,
            "steps": [{**asdict(step), "seconds": round(step.seconds, 6)} for step in self.steps],
            "left_behind": [asdict(leftover) for leftover in self.left_behind],
        }
