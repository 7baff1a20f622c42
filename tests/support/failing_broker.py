"""``pgbroker`` with failpoints: it dies, or waits, at a boundary of an operation.

The product knows nothing of this: its steps and its transactions on the state are wrapped here.
"""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from broker.domain.operation import OperationKind, OperationState
from broker.operations import steps
from broker.store.store import PostgresStore
from broker.store.transaction import PostgresTransaction
from broker.store.warm import WarmRecords
from tests.support.faults_failpoints import Boundary, Failpoints

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from broker.domain.operation import Operation, Work
    from broker.domain.warm import Location
    from broker.operations.steps import Step


def wrap(failpoints: Failpoints) -> None:
    """Wrap the steps of all operations, and the transactions that record and finish them."""
    _wrap_steps(failpoints)
    _wrap_single_statements(failpoints)
    _wrap_handing_over(failpoints)
    passed = _Passed()
    _wrap_records(passed)
    _wrap_transactions(failpoints, passed)


_Passed = WeakKeyDictionary[PostgresTransaction, list[tuple[str, Boundary, Boundary]]]
"""The kind of what a transaction records or finishes, and the boundaries around its commit."""


def _wrap_steps(failpoints: Failpoints) -> None:
    original = steps.steps_of

    def wrapped(step: Step, kind: str) -> Step:
        run: Callable[..., Awaitable[object]] = step.run

        async def run_and_pass(*arguments: Any) -> object:
            done = await run(*arguments)
            await failpoints.passes(kind, step.name)
            return done

        return replace(step, run=run_and_pass)

    def steps_of(work: Work, **collaborators: Any) -> tuple[Step, ...]:
        kind = work.operation.kind.value
        return tuple(wrapped(step, kind) for step in original(work, **collaborators))

    for module in list(sys.modules.values()):
        if getattr(module, "steps_of", None) is original:
            vars(module)["steps_of"] = steps_of


def _wrap_single_statements(failpoints: Failpoints) -> None:
    """Wrap what records most provisions, and finishes most operations, in one statement."""
    record_new, finish = PostgresStore.record_new, PostgresStore.finish

    async def passing_record(
        self: PostgresStore, operation: Operation, *what: Any, **to: Any
    ) -> bool:
        kind = operation.kind.value
        await failpoints.passes(kind, Boundary.RECORDING)
        recorded = await record_new(self, operation, *what, **to)
        if recorded:
            await failpoints.passes(kind, Boundary.RECORDED)
        return recorded

    async def passing_finish(self: PostgresStore, operation: Operation, *end: Any) -> bool:
        kind = operation.kind.value
        await failpoints.passes(kind, Boundary.FINISHING)
        finished = await finish(self, operation, *end)
        if finished:
            await failpoints.passes(kind, Boundary.FINISHED)
        return finished

    _put(PostgresStore, "record_new", passing_record)
    _put(PostgresStore, "finish", passing_finish)


def _wrap_handing_over(failpoints: Failpoints) -> None:
    """Wrap what gives a database of the warm stock to an instance, and what follows later."""
    hand_over, adopted = WarmRecords.hand_over, WarmRecords.adopted
    kind = OperationKind.PROVISION.value

    async def passing_hand_over(self: WarmRecords, *what: Any, **like: Any) -> Location | None:
        await failpoints.passes(kind, Boundary.HANDING_OVER)
        place = await hand_over(self, *what, **like)
        if place is not None:
            await failpoints.passes(kind, Boundary.HANDED_OVER)
        return place

    async def passing_adopted(self: WarmRecords, database: str) -> None:
        await failpoints.passes(kind, Boundary.TAGGED)
        await adopted(self, database)

    _put(WarmRecords, "hand_over", passing_hand_over)
    _put(WarmRecords, "adopted", passing_adopted)


def _wrap_records(passed: _Passed) -> None:
    """Note which transactions record or finish an operation."""
    finish_operation = PostgresTransaction.finish_operation

    def noting(
        add: Callable[..., Awaitable[bool | None]],
    ) -> Callable[..., Awaitable[bool | None]]:
        async def noting_add(
            self: PostgresTransaction, operation: Operation, *what: Any, **options: Any
        ) -> bool | None:
            added = await add(self, operation, *what, **options)
            if added is not False:
                entry = (operation.kind.value, Boundary.RECORDING, Boundary.RECORDED)
                passed.setdefault(self, []).append(entry)
            return added

        return noting_add

    async def noting_finish(self: PostgresTransaction, operation: Operation) -> bool:
        finished = await finish_operation(self, operation)
        if finished and operation.state is OperationState.SUCCEEDED:
            entry = (operation.kind.value, Boundary.FINISHING, Boundary.FINISHED)
            passed.setdefault(self, []).append(entry)
        return finished

    _put(PostgresTransaction, "add_operation", noting(PostgresTransaction.add_operation))
    _put(PostgresTransaction, "record", noting(PostgresTransaction.record))
    _put(PostgresTransaction, "finish_operation", noting_finish)


def _wrap_transactions(failpoints: Failpoints, passed: _Passed) -> None:
    transaction = PostgresStore.transaction

    @asynccontextmanager
    async def passing(self: PostgresStore) -> AsyncIterator[PostgresTransaction]:
        async with transaction(self) as state:
            yield state
            for kind, before, _ in passed.get(state, []):
                await failpoints.passes(kind, before)
        for kind, _, after in passed.get(state, []):
            await failpoints.passes(kind, after)

    _put(PostgresStore, "transaction", passing)


def _put(owner: type, name: str, replacement: Callable[..., Any]) -> None:
    setattr(owner, name, replacement)
