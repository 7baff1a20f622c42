"""What every verb works with, and what every verb answers."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from broker.domain.errors import AsyncRequired, BrokerError, ConcurrencyError, TemporaryFailure
from broker.domain.operation import Operation, OperationKind, OperationState, Work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from uuid import UUID

    from broker.domain.catalog import Catalog, Plan
    from broker.domain.instance import InstanceKey
    from broker.domain.operation import Caller, UpdateTarget
    from broker.service.ports import Clock, Runner, Servers, StateTransaction, Stock, Store


@dataclass(frozen=True, slots=True)
class Broker:
    """The verbs' collaborators.

    Attributes:
        catalog: The offerings and plans.
        store: The state.
        servers: The servers that hold the databases.
        runner: Carries out recorded operations.
        clock: The time.
        check_parameters: Raises ``InvalidRequest`` when parameters (second) do not fit the
            published JSON Schema (first).
        window: How long a request waits for its operation before it answers that it goes on.
        lease: How long a process may stay silent before another takes its operation over.
        tag_key_id: The key that makes the tags of new instances.
        stock: Keeps databases ready.
    """

    catalog: Catalog
    store: Store
    servers: Servers
    runner: Runner
    clock: Clock
    check_parameters: Callable[[Mapping[str, Any], Mapping[str, Any]], None]
    window: timedelta
    lease: timedelta
    tag_key_id: str
    stock: Stock


class Progress(Enum):
    """How far a request got."""

    DONE = auto()
    """It was carried out as a result of this request, or of the same one before it."""
    UNCHANGED = auto()
    """It had been carried out before."""
    ACCEPTED = auto()
    """It goes on after the answer."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a request led to.

    Attributes:
        progress: How far it got.
        operation_id: The operation to poll, when it goes on.
    """

    progress: Progress
    operation_id: UUID | None = None


UNCHANGED = Outcome(Progress.UNCHANGED)


def new_operation(
    broker: Broker,
    kind: OperationKind,
    key: InstanceKey,
    caller: Caller,
    *,
    binding_id: str | None = None,
    target: UpdateTarget | None = None,
) -> Operation:
    """Return an operation about to be recorded, leased to this process."""
    return Operation(
        id=uuid4(),
        kind=kind,
        instance=key,
        binding_id=binding_id,
        caller=caller,
        lease_token=uuid4(),
        started_at=broker.clock(),
        target=target,
    )


def check_asynchronous(plan: Plan | None, *, accepts_incomplete: bool) -> None:
    """Refuse a caller that cannot wait for a plan that is never quick.

    Raises:
        AsyncRequired: OSB API 2.17, "Asynchronous Operations".
    """
    if plan is not None and plan.asynchronous and not accepts_incomplete:
        raise AsyncRequired


async def carry_out(
    broker: Broker, task: Work | Operation, *, plan: Plan | None, accepts_incomplete: bool
) -> Outcome:
    """See a recorded operation through, as far as the caller can wait.

    Args:
        broker: The collaborators.
        task: What this request has recorded, and so runs; or an operation that another request
            has recorded, and that is waited for.
        plan: The instance's plan; one that is never quick is not waited for.
        accepts_incomplete: Whether the caller can poll.

    Raises:
        BrokerError: It failed.
        TemporaryFailure: It takes longer than the window and the caller cannot poll.
    """
    window = broker.window * (0 if plan is not None and plan.asynchronous else 1)
    match task:
        case Work():
            latest = await broker.runner.run(task, window=window, patient=accepts_incomplete)
        case Operation():
            latest = await broker.runner.wait(task, window=window, patient=accepts_incomplete)
    if latest.state is OperationState.SUCCEEDED:
        return Outcome(Progress.DONE)
    if accepts_incomplete:
        return Outcome(Progress.ACCEPTED, latest.id)
    raise TemporaryFailure(
        "This is taking longer than usual and goes on in the background; ask again in a moment."
    )


def operation_on(active: Sequence[Operation], binding_id: str | None = None) -> Operation | None:
    """Return the operation on the instance itself, or on that binding of it.

    Args:
        active: What is in progress on the instance and on its bindings.
        binding_id: ``None`` is the instance itself.
    """
    return next((found for found in active if found.binding_id == binding_id), None)


class Blockers:
    """What was in progress when a request was refused for it."""

    def __init__(self) -> None:
        self.operations: Sequence[Operation] = ()

    def found(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """Remember operations and return them."""
        self.operations = operations
        return operations


@asynccontextmanager
async def unblocking(broker: Broker) -> AsyncIterator[Blockers]:
    """See to it that a request is not refused for ever for what nobody runs any more.

    When the body ends in ``ConcurrencyError``, operations whose process has died are taken over
    and go on in the background; the platform, which waits and asks again as the specification
    demands ("Blocking Operations"), then finds them finished.
    """
    blockers = Blockers()
    try:
        yield blockers
    except ConcurrencyError:
        for operation in blockers.operations:
            with suppress(BrokerError):
                await broker.runner.wait(operation, window=timedelta(0), patient=True)
        raise


async def halt(state: StateTransaction, operations: Sequence[Operation]) -> None:
    """Put an end to operations whose result is being deleted, whoever runs them.

    A process that is at work on one may end the step it is in; it keeps the lock of the database
    as long, and notices afterwards.
    """
    for operation in operations:
        # Only what an update answers has a field for it (OSB API 2.17, "Service Broker Errors").
        usable = False if operation.kind is OperationKind.UPDATE else None
        halted = TemporaryFailure(
            "Halted: what it was working on is being deleted.",
            instance_usable=usable,
            update_repeatable=usable,
        )
        await state.halt_operation(operation.failed(halted))
