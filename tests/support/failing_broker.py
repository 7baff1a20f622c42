"""``pgbroker`` with failpoints: it dies, or waits, at a boundary of an operation.

The product knows nothing of this: its steps and its transactions on the state are wrapped here.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from broker.domain.operation import OperationKind, OperationState
from broker.operations import steps
from broker.store.store import PostgresStore
from broker.store.transaction import PostgresTransaction

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from broker.domain.operation import Operation, Work
    from broker.operations.steps import Step

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


def wrap(failpoints: Failpoints) -> None:
    """Wrap the steps of all operations, and the transactions that record and finish them."""
    _wrap_steps(failpoints)
    _wrap_transactions(failpoints)


def _wrap_steps(failpoints: Failpoints) -> None:
    original = steps.steps_of

    def wrapped(step: Step, kind: str) -> Step:
        run: Callable[..., Awaitable[None]] = step.run

        async def run_and_pass(*arguments: Any) -> None:
            await run(*arguments)
            await failpoints.passes(kind, step.name)

        return replace(step, run=run_and_pass)

    def steps_of(work: Work, **collaborators: Any) -> tuple[Step, ...]:
        kind = work.operation.kind.value
        return tuple(wrapped(step, kind) for step in original(work, **collaborators))

    for module in list(sys.modules.values()):
        if getattr(module, "steps_of", None) is original:
            vars(module)["steps_of"] = steps_of


def _wrap_transactions(failpoints: Failpoints) -> None:
    passed: WeakKeyDictionary[PostgresTransaction, list[tuple[str, Boundary, Boundary]]]
    passed = WeakKeyDictionary()
    transaction = PostgresStore.transaction
    finish = PostgresStore.finish
    add_operation = PostgresTransaction.add_operation
    finish_operation = PostgresTransaction.finish_operation

    async def passing_finish(self: PostgresStore, operation: Operation, *end: Any) -> bool:
        kind = operation.kind.value
        await failpoints.passes(kind, Boundary.FINISHING)
        finished = await finish(self, operation, *end)
        if finished:
            await failpoints.passes(kind, Boundary.FINISHED)
        return finished

    async def noting_add(self: PostgresTransaction, operation: Operation, **options: Any) -> None:
        await add_operation(self, operation, **options)
        entry = (operation.kind.value, Boundary.RECORDING, Boundary.RECORDED)
        passed.setdefault(self, []).append(entry)

    async def noting_finish(self: PostgresTransaction, operation: Operation) -> bool:
        finished = await finish_operation(self, operation)
        if finished and operation.state is OperationState.SUCCEEDED:
            entry = (operation.kind.value, Boundary.FINISHING, Boundary.FINISHED)
            passed.setdefault(self, []).append(entry)
        return finished

    @asynccontextmanager
    async def passing(self: PostgresStore) -> AsyncIterator[PostgresTransaction]:
        async with transaction(self) as state:
            yield state
            for kind, before, _ in passed.get(state, []):
                await failpoints.passes(kind, before)
        for kind, _, after in passed.get(state, []):
            await failpoints.passes(kind, after)

    for owner, name, replacement in (
        (PostgresTransaction, "add_operation", noting_add),
        (PostgresTransaction, "finish_operation", noting_finish),
        (PostgresStore, "transaction", passing),
        (PostgresStore, "finish", passing_finish),
    ):
        setattr(owner, name, replacement)
