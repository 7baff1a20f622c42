"""Whoever has lost an operation changes nothing any more, whenever it finds out."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import psycopg
import pytest
from psycopg import AsyncConnection

from broker.domain.errors import TemporaryFailure
from broker.domain.operation import OperationKind
from broker.operations import runner as runner_module
from broker.operations.steps import Step, steps_of
from broker.postgres import connections, hold
from broker.postgres.connections import Connections
from broker.postgres.look_statements import lock
from tests.integration.postgres.replica import WINDOW, Life, a_replica
from tests.integration.postgres.stepwise import StepwiseEngine, confirmed
from tests.integration.postgres.tenants import (
    database_spec,
    is_alive,
    rows,
    someone_waits_for,
    until,
)
from tests.support.state import migrated_template, state_dsn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from psycopg.rows import TupleRow

    from broker.domain.catalog import Catalog
    from broker.domain.operation import Operation, Work
    from broker.service.ports import DatabaseSession, Tags
    from tests.integration.postgres.replica import Replica
    from tests.integration.postgres.tenants import Session, Tenant
    from tests.support.postgres import PostgresServer

__all__ = ["migrated_template", "state_dsn"]

EXPIRED = timedelta(seconds=-1)

SHORT_LEASE = timedelta(seconds=3)

BEFORE = {
    OperationKind.PROVISION: (),
    OperationKind.UPDATE: (OperationKind.PROVISION,),
    OperationKind.BIND: (OperationKind.PROVISION,),
    OperationKind.UNBIND: (OperationKind.PROVISION, OperationKind.BIND),
    OperationKind.DEPROVISION: (OperationKind.PROVISION, OperationKind.BIND),
}
"""What has to be carried out before each kind of operation."""

FOOTPRINT = """
SELECT rolname, rolcanlogin, rolconnlimit, rolconfig::text FROM pg_roles WHERE rolname = ANY (%s)
UNION ALL
SELECT datname, datallowconn, datconnlimit, datacl::text FROM pg_database WHERE datname = ANY (%s)
ORDER BY 1
"""


class NotOursError(Exception):
    """What a confirmation raises."""


@pytest.fixture
async def replica(postgres: PostgresServer, state_dsn: str) -> AsyncIterator[Replica]:
    """Return a running replica."""
    async with a_replica(postgres, state_dsn) as replica:
        yield replica


async def footprint(superuser: Session, life: Life) -> list[TupleRow]:
    """Return all that the server has of an instance and its binding."""
    names = [life.instance.database, life.instance.owner, life.binding.login]
    return await rows(superuser, FOOTPRINT, names, names)


async def halt(replica: Replica, operation: Operation) -> None:
    """Take an operation over and end it, as the deletion of an instance does."""
    async with replica.store.transaction() as state:
        taken = await state.take_over(operation, token=uuid4(), lease=SHORT_LEASE)
        assert taken is not None
        assert await state.finish_operation(taken.failed(TemporaryFailure("Halted by a test.")))


@pytest.mark.parametrize("kind", OperationKind)
async def test_halted_while_it_waited_for_the_lock(
    replica: Replica, postgres: PostgresServer, superuser: Session, kind: OperationKind
) -> None:
    """An operation that somebody else has ended is not begun once the lock is free."""
    life = Life.new()
    for earlier in BEFORE[kind]:
        await replica.carry_out(earlier, life)
    before = await footprint(superuser, life)
    work = await replica.record(kind, life, lease=EXPIRED)
    async with await AsyncConnection.connect(postgres.broker_dsn(), autocommit=True) as holder:
        await holder.execute(lock(life.instance.database))
        waiting = asyncio.create_task(replica.runner.run(work, window=WINDOW, patient=False))
        await until(lambda: someone_waits_for(superuser, life.instance.database))
        await halt(replica, work.operation)
    with pytest.raises(TemporaryFailure, match="Halted by a test"):
        await waiting
    assert await footprint(superuser, life) == before
    await replica.clean(life)


async def test_halted_between_its_steps(
    postgres: PostgresServer,
    state_dsn: str,
    superuser: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An operation that was ended at work stops before its next step, and gives the lock back."""
    life = Life.new()
    at_work = asyncio.Event()

    async with a_replica(postgres, state_dsn, lease=SHORT_LEASE) as replica:

        async def noticed() -> bool:
            await superuser.execute("SELECT 1")
            return replica.store.said_lost

        async def work_slowly(_: DatabaseSession) -> None:
            at_work.set()
            await until(noticed)

        def with_a_slow_step(work: Work, *, catalog: Catalog, tags: Tags) -> tuple[Step, ...]:
            steps = steps_of(work, catalog=catalog, tags=tags)
            roles = [step.name for step in steps].index("ensure_roles") + 1
            return (*steps[:roles], Step("work_slowly", work_slowly), *steps[roles:])

        monkeypatch.setattr(runner_module, "steps_of", with_a_slow_step)
        work = await replica.record(OperationKind.PROVISION, life, lease=EXPIRED)
        working = asyncio.create_task(replica.runner.run(work, window=WINDOW, patient=False))
        await at_work.wait()
        await halt(replica, work.operation)
        with pytest.raises(TemporaryFailure, match="Halted by a test"):
            await working
        made = {name for name, *_ in await footprint(superuser, life)}
        assert made == {life.instance.database, life.instance.owner}
        assert not await rows(
            superuser, "SELECT FROM pg_database WHERE datname = %s", life.instance.database
        )
        await replica.clean(life)


async def test_nobody_comes_between_two_steps(engine: StepwiseEngine, superuser: Session) -> None:
    """Whoever waits for a database gets it when all of the work is done, and sees its end."""
    spec = database_spec()
    half_done, go_on = asyncio.Event(), asyncio.Event()

    async def make(database: DatabaseSession) -> None:
        await database.ensure_roles(spec)
        half_done.set()
        await go_on.wait()
        await database.ensure_database(spec)

    making = asyncio.create_task(engine.exclusively(spec.name, make, confirm=confirmed))
    await half_done.wait()
    dropping = asyncio.create_task(engine.drop_database(spec, []))
    await until(lambda: someone_waits_for(superuser, spec.name))
    go_on.set()
    await asyncio.gather(making, dropping)
    names = [spec.name, spec.owner]
    assert not await rows(superuser, FOOTPRINT, names, names)


async def test_whoever_is_refused_gives_the_lock_back(
    engine: StepwiseEngine, postgres: PostgresServer
) -> None:
    """A confirmation that fails leaves the database to the next, at once."""
    spec = database_spec()

    async def refuse() -> None:
        raise NotOursError

    async def make(database: DatabaseSession) -> None:
        await database.ensure_roles(spec)

    with pytest.raises(NotOursError):
        await engine.exclusively(spec.name, make, confirm=refuse)
    next_one = StepwiseEngine("replica", postgres.broker_dsn())
    await next_one.open()
    async with asyncio.timeout(4):  # less than one round of waiting for a lock
        await next_one.drop_database(spec, [])
    await next_one.close()


async def test_frozen_between_its_steps(
    engine: StepwiseEngine,
    postgres: PostgresServer,
    superuser: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A holder whose lock was taken from it while it was frozen asks before it does anything."""
    monkeypatch.setattr(hold, "FROZEN_AFTER", 0)
    spec = database_spec()
    frozen, thawed = asyncio.Event(), asyncio.Event()
    ours = True

    async def confirm() -> None:
        if not ours:
            raise NotOursError

    async def make(database: DatabaseSession) -> None:
        await database.ensure_roles(spec)
        frozen.set()
        await thawed.wait()
        await database.ensure_database(spec)

    making = asyncio.create_task(engine.exclusively(spec.name, make, confirm=confirm))
    await frozen.wait()
    ours = False
    successor = StepwiseEngine("replica", postgres.broker_dsn())
    await successor.open()
    await successor.drop_database(spec, [])
    thawed.set()
    with pytest.raises(NotOursError):
        await making
    names = [spec.name, spec.owner]
    assert not await rows(superuser, FOOTPRINT, names, names)
    await successor.close()


async def test_without_the_lock_there_is_no_way_into_the_database(
    postgres: PostgresServer, tenant: Tenant, superuser: Session
) -> None:
    """Whoever was frozen before it went to a tenant's database does not go there thawed."""
    server = Connections("test-server", postgres.broker_dsn(), pool_size=1)
    await server.open()
    inside: list[str] = []

    async def go_there_without_the_lock() -> None:
        async with server.hold(tenant.spec.name) as hold:
            await superuser.execute(
                "SELECT pg_terminate_backend(%s, 5000)", [hold.connection.info.backend_pid]
            )
            async with server.tenant(hold):
                inside.append(tenant.spec.name)

    with pytest.raises(psycopg.OperationalError):
        await go_there_without_the_lock()
    assert not inside
    await server.close()


async def test_a_frozen_session_on_a_tenants_database_is_ended(
    postgres: PostgresServer,
    tenant: Tenant,
    superuser: Session,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server itself ends it, before anybody may take the lock, with what it was about to do."""
    longest = connections.TENANT_STATEMENT_TIMEOUT + connections.IDLE_TIMEOUT
    assert longest < hold.FROZEN_AFTER
    monkeypatch.setattr(connections, "IDLE_TIMEOUT", 1)
    server = Connections("test-server", postgres.broker_dsn(), pool_size=1)
    async with await server.connect(tenant.spec.name) as session:
        pid = session.info.backend_pid

        async def ended() -> bool:
            return not await rows(superuser, "SELECT FROM pg_stat_activity WHERE pid = %s", pid)

        await until(ended)
        assert not await is_alive(session)
