"""The worker: background jobs of every replica, in procrastinate's queue in the state database.

Belongs here: taking over what a dead process left, and running the periodic work. Jobs are few
and carry ids only; what they do is elsewhere.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from procrastinate import App, BaseRetryStrategy, PsycopgConnector, RetryDecision
from procrastinate.exceptions import ConnectorException

from broker.domain.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from datetime import timedelta

    from procrastinate.jobs import Job

    from broker.operations.runner import OperationRunner

log = structlog.get_logger()

TAKE_OVER = "take_over"
QUEUE = "operations"
UPKEEP = "upkeep"

_RESCUE_EVERY = 10.0
_CONNECTIONS = 3
_CONCURRENCY = 8
_RESTART_AFTER = 2.0
_SEARCH_PATH = "SELECT pg_catalog.set_config('search_path', %s, false)"


class StillRunning(Exception):
    """The operation's process is alive; ask again later."""


@dataclass(frozen=True, slots=True)
class Chore:
    """Periodic work, done by one replica at a time.

    Attributes:
        name: For the log and the queue.
        every: When, as a cron expression; a sixth field is the second.
        run: Does it.
    """

    name: str
    every: str
    run: Callable[[], Awaitable[object]]


class _Patience(BaseRetryStrategy):
    """Ask again, for as long as it takes: an operation must not be forgotten."""

    def __init__(self, pause: timedelta) -> None:
        self._seconds = max(1, round(pause.total_seconds()))

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision:
        if not isinstance(exception, StillRunning):
            log.warning("takeover will be repeated", job=job.id, reason=repr(exception))
        return RetryDecision(retry_in={"seconds": self._seconds})


class Worker:
    """Takes operations over and does the periodic work, beside the requests of this process."""

    def __init__(
        self,
        *,
        dsn: str,
        options: Mapping[str, Any],
        schema: str,
        runner: OperationRunner,
        defer_missing: Callable[[], Awaitable[object]],
        chores: Sequence[Chore],
        lease: timedelta,
        poll_every: timedelta,
        stop_within: timedelta,
    ) -> None:
        """Wire a worker; nothing is connected yet.

        Args:
            dsn: The state database, as a libpq connection string or URI.
            options: What libpq is told beside it, as for all connections to the state database.
            schema: The PostgreSQL schema of the queue.
            runner: Carries out what is taken over.
            defer_missing: Writes takeover jobs that ought to be there and are not.
            chores: The periodic work.
            lease: How long a process may stay silent before its work is taken over.
            poll_every: How often to look for jobs that are due.
            stop_within: How long jobs get to end at shutdown.
        """

        async def configure(connection: Any) -> None:
            await connection.execute(_SEARCH_PATH, [f"pg_catalog, {schema}, pg_temp"])
            await connection.commit()

        self._runner = runner
        self._defer_missing = defer_missing
        self._lease = lease
        self._stop_within = stop_within.total_seconds()
        self._options: dict[str, Any] = {
            "queues": [QUEUE, UPKEEP],
            "name": "pgbroker",
            "concurrency": _CONCURRENCY,
            "fetch_job_polling_interval": poll_every.total_seconds(),
            "shutdown_graceful_timeout": stop_within.total_seconds(),
            # Every job is due later than it is written, so a notification would wake for nothing.
            "listen_notify": False,
            # What is to be done again is put back, and what has failed is in the log.
            "delete_jobs": "always",
            "install_signal_handlers": False,
            "update_heartbeat_interval": lease.total_seconds() / 3,
            "stalled_worker_timeout": lease.total_seconds(),
        }
        self._app = App(
            connector=PsycopgConnector(
                conninfo=dsn,
                min_size=0,
                max_size=_CONNECTIONS,
                kwargs={**options, "application_name": "pgbroker-worker"},
                configure=configure,
                timeout=5.0,
            )
        )
        self._app.task(name=TAKE_OVER, queue=QUEUE, retry=_Patience(lease / 3))(self._take_over)
        for chore in chores:
            self._schedule(chore)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work until the context is left; the state database may be down at times."""
        stopping = asyncio.Event()
        work = asyncio.create_task(self._work(stopping), name="worker")
        try:
            yield
        finally:
            stopping.set()
            work.cancel()
            # Bounded: a state database that is down must not keep the process from ending.
            await asyncio.wait({work}, timeout=self._stop_within)

    async def _work(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                async with self._app.open_async():
                    await self._rescue()
                    rescuing = asyncio.create_task(self._keep_rescuing(), name="rescue")
                    try:
                        await self._app.run_worker_async(**self._options)
                    finally:
                        rescuing.cancel()
            except Exception as exc:  # noqa: BLE001 - whatever it was, the work must go on
                # The library's own errors say nothing but that there was one.
                log.warning("worker interrupted", reason=str(exc.__cause__ or exc).strip())
            # The library turns a cancellation into its own error when the database is down.
            if stopping.is_set():
                return
            await asyncio.sleep(_RESTART_AFTER)

    async def _take_over(self, operation_id: str) -> None:
        """See an operation through whose process has died.

        Raises:
            StillRunning: Its process is alive, or nobody knows.
        """
        try:
            over = await self._runner.resume(UUID(operation_id))
        except BrokerError as exc:
            log.warning("takeover will be repeated", operation=operation_id, reason=exc.description)
            raise StillRunning from exc
        if not over:
            raise StillRunning

    async def _keep_rescuing(self) -> None:
        """Look after jobs from time to time; not by a job, which might need rescue itself."""
        while True:
            await asyncio.sleep(_RESCUE_EVERY)
            try:
                await self._rescue()
            except Exception as exc:  # noqa: BLE001 - whatever it was, the next time may do
                log.warning("jobs not looked after", reason=repr(exc))

    async def _rescue(self) -> None:
        """Put jobs back into the queue whose worker has died with them, or that are missing."""
        manager = self._app.job_manager
        stalled = await manager.get_stalled_jobs(
            seconds_since_heartbeat=self._lease.total_seconds()
        )
        for job in stalled:
            log.warning("job of a dead worker", job=job.id, task=job.task_name)
            # Another replica may have been quicker.
            with suppress(ConnectorException):
                await manager.retry_job(job)
        await self._defer_missing()

    def _schedule(self, chore: Chore) -> None:
        async def run(timestamp: int) -> None:  # noqa: ARG001 - the queue passes it
            try:
                await chore.run()
            except BrokerError as exc:
                log.warning("chore not done", chore=chore.name, reason=exc.description)
            except Exception:
                log.exception("chore failed unexpectedly", chore=chore.name)

        # One in the queue and one at work at most, over all replicas.
        task = self._app.task(
            name=chore.name, queue=UPKEEP, queueing_lock=chore.name, lock=chore.name
        )(run)
        self._app.periodic(cron=chore.every)(task)
