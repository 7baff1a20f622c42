"""Runs operations under a lease, and waits for those that another process runs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from broker.domain import errors
from broker.domain.instance import BindingKey
from broker.domain.operation import Operation, OperationState, Work
from broker.operations.lease import LeaseLost, kept, pauses
from broker.operations.outcomes import (
    explain,
    must_withdraw,
    record_failure,
    record_success,
    recorded_failure,
)
from broker.operations.patience import Patience
from broker.operations.steps import Step, steps_of, withdraw

if TYPE_CHECKING:
    from datetime import timedelta
    from uuid import UUID

    from broker.domain.catalog import Catalog
    from broker.operations.lease import Lease
    from broker.service.ports import DatabaseSession, Engine, Servers, Store, Tags

log = structlog.get_logger()


class OperationRunner:
    """Carries out recorded operations (``broker.service.ports.Runner``)."""

    def __init__(
        self,
        *,
        store: Store,
        servers: Servers,
        catalog: Catalog,
        tags: Tags,
        lease: timedelta,
        retry_for: timedelta,
        go_on_for: timedelta,
    ) -> None:
        """Wire a runner.

        Args:
            store: The state.
            servers: For the engines.
            catalog: For the limits of the plans.
            tags: For the COMMENT of databases and roles.
            lease: How long we may stay silent before another process takes over.
            retry_for: How long an operation is repeated while its server is down, full or locked.
            go_on_for: The same for one that is not waited for, but polled.
        """
        self._store = store
        self._servers = servers
        self._catalog = catalog
        self._tags = tags
        self._lease = lease
        self._retry_for = retry_for
        self._go_on_for = go_on_for
        self._running: set[asyncio.Task[Operation]] = set()

    async def run(self, work: Work, *, window: timedelta, patient: bool) -> Operation:
        """Start a recorded operation and wait for its end, at most as long as the window.

        Args:
            work: The operation, recorded and leased to us.
            window: How long to wait; it goes on afterwards.
            patient: Whether the caller will poll. Then a server that is down, full or locked makes
                the operation take long instead of fail, and is not waited for here.
        """
        held_up = asyncio.Event() if patient else None
        task = self._start(work, held_up)
        await _first(task, held_up, within=window)
        if not task.done():
            return work.operation
        try:
            return task.result()
        except LeaseLost:
            return await self.wait(work.operation, window=window, patient=patient)

    async def wait(self, operation: Operation, *, window: timedelta, patient: bool) -> Operation:
        """Wait for the end of an operation that some process runs, or take it over if none does."""
        async with self._store.transaction() as state:
            taken = await state.take_over(operation, token=uuid4(), lease=self._lease)
        if taken is not None:
            log.warning("operation taken over", operation=str(operation.id), kind=operation.kind)
            return await self.run(await self._pick_up(taken), window=window, patient=patient)
        for pause in pauses(window):
            latest = await self._store.operation(operation.id) or operation
            if latest.state is OperationState.FAILED:
                raise recorded_failure(latest)
            # What has to say why it takes so long is not waited for by anybody who can poll.
            held_up = patient and latest.description is not None
            if latest.state is OperationState.SUCCEEDED or held_up or pause is None:
                return latest
            await asyncio.sleep(pause)
        return operation

    async def resume(self, operation_id: UUID) -> bool:
        """Carry out an operation whose process has died.

        Returns:
            Whether it is over. If not, its process is alive, or this one goes on with it because
            its server keeps it waiting.

        Raises:
            BrokerError: The state database could not be asked; it may not be over.
        """
        operation = await self._store.operation(operation_id)
        if operation is None or operation.state is not OperationState.IN_PROGRESS:
            return True
        async with self._store.transaction() as state:
            taken = await state.take_over(operation, token=uuid4(), lease=self._lease)
        if taken is None:
            return False
        log.warning("operation taken over", operation=str(taken.id), kind=taken.kind)
        try:
            work = await self._pick_up(taken)
        except errors.Gone as gone:
            async with self._store.transaction() as state:
                return await state.finish_operation(taken.failed(gone))
        held_up = asyncio.Event()
        task = self._start(work, held_up)
        await _first(task, held_up)
        if not task.done():
            return False
        latest = await self._store.operation(operation_id)
        return latest is None or latest.state is not OperationState.IN_PROGRESS

    async def drain(self, *, within: timedelta) -> int:
        """Wait for running operations to end.

        Args:
            within: How long to wait.

        Returns:
            How many were still running; whoever asks for them next takes them over.
        """
        if not self._running:
            return 0
        _, pending = await asyncio.wait(set(self._running), timeout=within.total_seconds())
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending)
        return len(pending)

    def _start(self, work: Work, held_up: asyncio.Event | None) -> asyncio.Task[Operation]:
        task = asyncio.create_task(self._execute(work, held_up), name=str(work.operation.id))
        self._running.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Operation]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # Marks it as seen when the request has given up waiting.

    async def _execute(self, work: Work, held_up: asyncio.Event | None) -> Operation:
        operation = work.operation
        context = operation.log_fields
        async with kept(operation, store=self._store, lease=self._lease) as lease:
            try:
                last = await self._run_steps(work, self._steps(work), lease, held_up)
            except LeaseLost:
                log.warning("operation lost: another process has it, or it was halted", **context)
                raise
            except errors.OutcomeUnknown as reason:
                log.warning("operation left to its job", **context, reason=reason.description)
                raise
            except errors.BrokerError as reason:
                log.warning("operation failed", **context, reason=reason.description)
                await self._fail(work, explain(work, reason), lease)
                raise
            except Exception as exc:
                log.exception("operation failed unexpectedly", **context)
                failure = explain(work, errors.PermanentFailure())
                await self._fail(work, failure, lease)
                raise failure from exc
            if not await self._succeeded(work, lease, kept_data=last is not False):
                log.warning("operation lost: another process has it, or it was halted", **context)
                raise LeaseLost
        log.info("operation succeeded", **context)
        return operation.succeeded()

    async def _succeeded(self, work: Work, lease: Lease, *, kept_data: bool) -> bool:
        """Record that all is done; a state database that is restarted meanwhile is waited for.

        Recorded twice it is ``False``, as if it were not ours any more: the record tells.
        """
        for pause in pauses(self._retry_for):
            lease.check()
            try:
                return await record_success(self._store, work, kept_data=kept_data)
            except errors.StateUnavailable:
                if pause is None:
                    raise
                await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    async def _pick_up(self, operation: Operation) -> Work:
        """Read what an operation that was taken over works on.

        Raises:
            Gone: It is not there any more.
        """
        key = operation.instance
        async with self._store.transaction() as state:
            instance = await state.instance(key)
            if instance is None:
                raise errors.Gone
            if operation.binding_id is None:
                bindings = tuple(await state.bindings(key))
                deleted = await state.deleted.attached(key)
                return Work(operation, instance, bindings, deleted, resumed=True)
            binding = await state.binding(BindingKey(key, operation.binding_id))
            if binding is None:
                raise errors.Gone
            return Work(operation, instance, (binding,), resumed=True)

    async def _run_steps(
        self,
        work: Work,
        steps: tuple[Step, ...],
        lease: Lease,
        held_up: asyncio.Event | None = None,
    ) -> object:
        """Run steps under the lock of the database, from the first when they were held up.

        Args:
            work: The operation.
            steps: What to do.
            lease: Whether it is still ours.
            held_up: Set when it takes longer than anybody should wait; ``None`` fails then.

        Returns:
            What the last step did.

        Raises:
            LeaseLost: The operation is not ours any more. If it was not when the lock was granted,
                nothing has been changed.
            OutcomeUnknown: It is an update, and may have been carried out: neither success nor
                failure is true before the server has been asked. It stays in progress.
        """
        patience = Patience(work, self._store, retry_for=self._retry_for, held_up=held_up)
        try:
            engine = self._servers.engine(work.instance.server)
        except errors.ServerUnavailable as exc:
            raise patience.reason(exc) from exc.__cause__
        limit = self._retry_for if held_up is None else self._go_on_for
        for pause in pauses(limit):
            lease.check()
            try:
                return await self._attempt(engine, work, steps, lease, patience)
            except errors.TemporaryFailure as exc:
                if isinstance(exc, errors.OutcomeUnknown):
                    patience.unknown = True
                    steps = self._steps(replace(work, resumed=True))
                again = await patience.allows_another(exc)
                if pause is None or not again:
                    raise patience.reason(exc) from exc.__cause__
                await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _steps(self, work: Work) -> tuple[Step, ...]:
        return steps_of(work, catalog=self._catalog, tags=self._tags)

    async def _attempt(
        self, engine: Engine, work: Work, steps: tuple[Step, ...], lease: Lease, patience: Patience
    ) -> object:
        """Run steps under the lock of the database; return what the last one did."""
        last: object = None

        async def confirm() -> None:
            if not await self._store.holds_lease(work.operation):
                raise LeaseLost

        async def run(database: DatabaseSession) -> None:
            nonlocal last
            for step in steps:
                lease.check()
                last = await step.run(database)
                if step.settles:
                    patience.unknown = False
                    if last:
                        return

        await engine.exclusively(work.instance.database, run, confirm=confirm)
        return last

    async def _fail(self, work: Work, reason: errors.BrokerError, lease: Lease) -> None:
        """Record a failure, having taken back what a refused provision has made so far."""
        lease.check()
        withdrawn = must_withdraw(work, reason)
        if withdrawn:
            back = withdraw(work.instance, (), self._tags, deleted=work.deleted)
            try:
                await self._run_steps(work, back, lease)
            except errors.BrokerError as exc:
                log.warning("refused provision not taken back", reason=exc.description)
                withdrawn = False
        async with self._store.transaction() as state:
            # Locked first, as by everybody who halts what is in progress on it.
            await state.instance(work.instance.key)
            if await state.finish_operation(work.operation.failed(reason)):
                await record_failure(state, work, withdrawn=withdrawn)


async def _first(
    task: asyncio.Task[Operation],
    held_up: asyncio.Event | None,
    *,
    within: timedelta | None = None,
) -> None:
    """Wait for the end of an operation, or until it is held up, or for some time."""
    signals = set() if held_up is None else {asyncio.create_task(held_up.wait())}
    try:
        await asyncio.wait(
            {task, *signals},
            timeout=None if within is None else within.total_seconds(),
            return_when=asyncio.FIRST_COMPLETED,
        )
    finally:
        # Also when the caller has hung up, and nobody waits any more.
        for signal in signals:
            signal.cancel()
