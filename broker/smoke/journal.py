"""The steps of a run as they happen: names, outcomes, times."""

from __future__ import annotations

import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from broker.smoke.errors import StepFailed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_HIDDEN = "********"


class Outcome(StrEnum):
    """How a step ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(slots=True, eq=False)
class Step:
    """One step.

    Attributes:
        name: What was done.
        outcome: ``None`` while it is being done.
        seconds: How long it took.
        detail: For the reader; the reason, when it failed or was skipped.
    """

    name: str
    outcome: Outcome | None = None
    seconds: float = 0.0
    detail: str = ""


class Listener(Protocol):
    """Shows steps."""

    def changed(self, step: Step) -> None:
        """A step has begun or ended."""


@dataclass(slots=True)
class Journal:
    """All steps so far.

    Attributes:
        listener: Is told of every change.
        steps: In order.
    """

    listener: Listener
    steps: list[Step] = field(default_factory=list)
    _secrets: set[str] = field(default_factory=set, repr=False)

    def hide(self, secrets: Iterable[str]) -> None:
        """Never show these, whoever repeats them: brokers and servers may, in their messages."""
        self._secrets.update(secrets)

    def reveal_nothing(self, text: str) -> str:
        """Return a text without the secrets in it."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            # Not inside of words: a password like "a" would leave nothing to read.
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", _HIDDEN, text)
        return text

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Do a step inside this context; its body may set ``detail``.

        Raises:
            StepFailed: Passed on, after it has been noted.
        """
        step = Step(name)
        self.steps.append(step)
        self.listener.changed(step)
        began = time.monotonic()
        outcome = Outcome.FAILED
        try:
            yield step
            outcome = Outcome.PASSED
        except StepFailed as exc:
            step.detail = str(exc)
            raise
        finally:
            if outcome is Outcome.FAILED and not step.detail:
                step.detail = "did not end"
            step.detail = self.reveal_nothing(step.detail)
            step.outcome, step.seconds = outcome, time.monotonic() - began
            self.listener.changed(step)

    def skip(self, name: str, reason: str) -> None:
        """Note a step that is not for this broker or plan."""
        step = Step(name, Outcome.SKIPPED, detail=reason)
        self.steps.append(step)
        self.listener.changed(step)
