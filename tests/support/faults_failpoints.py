"""Failpoints: where in an operation a process is to die or to wait.

Belongs here: what a test and the process it is about to hurt tell each other, through files.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from broker.domain.operation import OperationKind

if TYPE_CHECKING:
    from pathlib import Path


_LOOK_AGAIN = 0.01


class Boundary(StrEnum):
    """The boundaries every operation has; each of its steps adds one, behind that step."""

    RECORDING = "recording"
    """Before the commit of the transaction that records it."""
    RECORDED = "recorded"
    """Behind that commit, before the first step."""
    FINISHING = "finishing"
    """Behind the last step, before the commit of the transaction that finishes it."""
    FINISHED = "finished"
    """Behind that commit, before the answer."""
    HANDING_OVER = "handing over"
    """Before the statement that records a finished instance with a database of the warm stock."""
    HANDED_OVER = "handed over"
    """Behind it, before the answer."""
    TAGGED = "tagged"
    """Behind the answer: the database says whose it is, and the stock has not forgotten it yet."""


class Action(StrEnum):
    """What happens at the failpoint."""

    KILL = "kill"
    """The process dies, as with ``kill -9``."""
    HOLD = "hold"
    """The operation waits until the test lets it go on; the process lives."""


@dataclass(frozen=True, slots=True)
class Failpoint:
    """Where something happens, and what.

    Attributes:
        kind: The kind of operation.
        boundary: One of ``Boundary``, or the name of a step.
        action: What happens.
    """

    kind: str
    boundary: str
    action: Action


@dataclass(frozen=True, slots=True)
class Failpoints:
    """Where a process and a test tell each other about failpoints: one a kind, each once.

    Attributes:
        directory: For the files that say so.
    """

    directory: Path

    def arm(self, failpoint: Failpoint) -> None:
        """Let it happen when next an operation comes there."""
        for trace in ("reached", "resume"):
            (self.directory / f"{trace}-{failpoint.kind}").unlink(missing_ok=True)
        new = self.directory / "new"
        new.write_text(json.dumps(asdict(failpoint)), "utf-8")
        new.replace(self.directory / f"armed-{failpoint.kind}")

    def disarm(self) -> None:
        """Let none happen, and everything that is held go on."""
        for kind in OperationKind:
            (self.directory / f"armed-{kind}").unlink(missing_ok=True)
            (self.directory / f"resume-{kind}").touch()

    def all_reached(self) -> bool:
        """Tell whether everything that was armed has happened."""
        return not [*self.directory.glob("armed-*")]

    async def passes(self, kind: str, boundary: str) -> None:
        """Be told, in the process, that an operation has come to a boundary."""
        armed = self.directory / f"armed-{kind}"
        try:
            failpoint = json.loads(armed.read_text("utf-8"))
            if failpoint["boundary"] != boundary:
                return
            armed.rename(self.directory / f"reached-{kind}")
        except FileNotFoundError:
            return
        if failpoint["action"] == Action.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        resume = self.directory / f"resume-{kind}"
        while not resume.exists():  # noqa: ASYNC110 -- the test is another process
            await asyncio.sleep(_LOOK_AGAIN)
