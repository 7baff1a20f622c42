"""The worker: what a dead process left is carried out by whoever is alive."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg.rows import scalar_row

from broker.domain.errors import StateUnavailable
from broker.domain.instance import Status
from broker.domain.operation import OperationKind, OperationState
from broker.operations.jobs import Chore, Worker
from broker.store.connect import connection_options
from broker.store.queue import QUEUE_SCHEMA
from tests.integration.postgres.replica import Life, Replica, a_replica
from tests.support.state import migrated_template, state_dsn

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from tests.support.postgres import PostgresServer

__all__ = ["migrated_template", "state_dsn"]

DIED = timedelta(seconds=-1)
PATIENCE = 30


def a_worker(replica: Replica, dsn: str, *chores: Chore) -> Worker:
    """Wire a worker of a replica."""
    return Worker(
        dsn=dsn,
        options=connection_options(),
        schema=QUEUE_SCHEMA,
        runner=replica.runner,
        defer_missing=lambda: replica.store.defer_missing(timedelta(0)),
        chores=chores,
        lease=timedelta(seconds=2),
        poll_every=timedelta(seconds=0.1),
        stop_within=timedelta(seconds=10),
    )


JOBS: LiteralString = (
    "SELECT count(*)::int FROM pgbroker_jobs.procrastinate_jobs WHERE task_name = 'take_over'"
)


async def count(dsn: str, query: LiteralString = JOBS) -> int:
    """Count the takeover jobs in the queue."""
    async with await psycopg.AsyncConnection.connect(dsn, row_factory=scalar_row) as connection:
        found: int = await (await connection.execute(query)).fetchone() or 0
    return found


async def until(dsn: str, done: Callable[[int], bool]) -> None:
    """Wait until the number of takeover jobs is as wanted."""
    async with asyncio.timeout(PATIENCE):
        while not done(await count(dsn)):
            pass


async def test_an_abandoned_provision_is_finished(postgres: PostgresServer, state_dsn: str) -> None:
    """A worker carries out what its process left, and the job is gone with it."""
    life = Life.new()
    async with a_replica(postgres, state_dsn) as replica:
        work = await replica.record(OperationKind.PROVISION, life, lease=DIED)
        assert await count(state_dsn) == 1
        async with a_worker(replica, state_dsn).running():
            await until(state_dsn, lambda jobs: jobs == 0)
        operation = await replica.store.operation(work.operation.id)
        instance = await replica.store.instance(life.instance.key)
        assert operation is not None
        assert operation.state is OperationState.SUCCEEDED
        assert instance is not None
        assert instance.status is Status.READY
        assert await replica.engine.database_size(life.instance.database) > 0
        await replica.clean(life)


async def test_the_job_of_a_dead_worker_is_done_by_another(
    postgres: PostgresServer, state_dsn: str
) -> None:
    """A worker that died in the middle of a takeover does not take the operation with it."""
    life = Life.new()
    async with a_replica(postgres, state_dsn) as replica:
        await replica.record(OperationKind.PROVISION, life, lease=DIED)
        async with await psycopg.AsyncConnection.connect(state_dsn) as connection:
            await connection.execute("SET search_path = pgbroker_jobs")
            await connection.execute(
                "WITH dead AS (INSERT INTO procrastinate_workers (last_heartbeat)"
                " VALUES (now() - interval '1 hour') RETURNING id)"
                " UPDATE procrastinate_jobs SET status = 'doing', worker_id = dead.id FROM dead"
            )
        async with a_worker(replica, state_dsn).running():
            await until(state_dsn, lambda jobs: jobs == 0)
        instance = await replica.store.instance(life.instance.key)
        assert instance is not None
        assert instance.status is Status.READY
        await replica.clean(life)


async def test_a_job_that_got_lost_is_written_again(
    postgres: PostgresServer, state_dsn: str
) -> None:
    """An operation that nobody runs and nothing would take over is found, and carried out."""
    life = Life.new()
    async with a_replica(postgres, state_dsn) as replica:
        work = await replica.record(OperationKind.PROVISION, life, lease=DIED)
        async with await psycopg.AsyncConnection.connect(state_dsn) as connection:
            await connection.execute("DELETE FROM pgbroker_jobs.procrastinate_events")
            await connection.execute("SET search_path = pgbroker_jobs")
            await connection.execute("DELETE FROM procrastinate_jobs")
        async with a_worker(replica, state_dsn).running(), asyncio.timeout(PATIENCE):
            while not await replica.ended(work.operation):
                pass
        instance = await replica.store.instance(life.instance.key)
        assert instance is not None
        assert instance.status is Status.READY
        await replica.clean(life)


async def test_a_hiccup_of_the_state_database_loses_no_takeover(
    postgres: PostgresServer, state_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A takeover that cannot read the state, or not write its end, is tried again."""
    life, hiccups = Life.new(), 2
    async with a_replica(postgres, state_dsn) as replica:
        finish = replica.store.finish

        async def failing(*args: Any) -> bool:
            nonlocal hiccups
            hiccups -= 1
            if hiccups >= 0:
                raise StateUnavailable
            return await finish(*args)

        monkeypatch.setattr(replica.store, "finish", failing)
        work = await replica.record(OperationKind.PROVISION, life, lease=DIED)
        async with a_worker(replica, state_dsn).running(), asyncio.timeout(PATIENCE):
            while not await replica.ended(work.operation):
                pass
        assert hiccups < 0
        await replica.clean(life)


async def test_what_is_alive_is_left_alone(postgres: PostgresServer, state_dsn: str) -> None:
    """A job that comes due while the operation is leased asks again later."""
    life = Life.new()
    async with a_replica(postgres, state_dsn) as replica:
        work = await replica.record(OperationKind.PROVISION, life)
        async with await psycopg.AsyncConnection.connect(state_dsn) as connection:
            await connection.execute("SET search_path = pgbroker_jobs")
            await connection.execute("UPDATE procrastinate_jobs SET scheduled_at = now()")
        async with a_worker(replica, state_dsn).running(), asyncio.timeout(PATIENCE):
            while await count(state_dsn, JOBS + " AND attempts > 0 AND status = 'todo'") == 0:
                pass
        operation = await replica.store.operation(work.operation.id)
        assert operation == work.operation


async def test_periodic_work_outlives_its_failures(
    postgres: PostgresServer, state_dsn: str
) -> None:
    """A chore that fails is done again at its next time."""
    done = asyncio.Event()
    runs = 0

    async def fail_once() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise RuntimeError
        done.set()

    async with a_replica(postgres, state_dsn) as replica:
        worker = a_worker(replica, state_dsn, Chore("fail_once", "* * * * * *", fail_once))
        async with worker.running(), asyncio.timeout(PATIENCE):
            await done.wait()
