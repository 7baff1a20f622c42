"""The invariant that ends every test here sees each way of breaking it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from psycopg import AsyncConnection, sql

from broker.domain.operation import OperationKind
from tests.acceptance.faults.requests import Request
from tests.support.catalog import BIG, SMALL
from tests.support.faults_failpoints import Action, Boundary
from tests.support.faults_platform import Known
from tests.support.platform import new_id

if TYPE_CHECKING:
    from typing import LiteralString

    from tests.support.faults_fleet import Fleet

STRAYS: dict[str, tuple[LiteralString, LiteralString]] = {
    "role": ("CREATE ROLE stray", "DROP ROLE stray"),
    "database": ("CREATE DATABASE stray", "DROP DATABASE stray"),
}

DAMAGES: dict[str, LiteralString] = {
    "password": "ALTER ROLE {login} PASSWORD 'another'",
    "login": "ALTER ROLE {login} NOLOGIN",
    "limit": "ALTER DATABASE {database} CONNECTION LIMIT 99",
    "closed": "ALTER DATABASE {database} ALLOW_CONNECTIONS false",
    "tag": "COMMENT ON DATABASE {database} IS NULL",
    "lost": "DROP DATABASE {database} WITH (FORCE)",
}


FORGET_JOBS: LiteralString = """
    SELECT pgbroker.forget_takeover(queueing_lock::uuid) FROM pgbroker_jobs.procrastinate_jobs
    WHERE task_name = 'take_over'
"""


@pytest.mark.parametrize("what", STRAYS)
async def test_what_nobody_owns_is_seen(fleet: Fleet, what: str) -> None:
    """A database or a role that no record knows."""
    make, remove = STRAYS[what]
    await execute(fleet, sql.SQL(make))
    differences = await fleet.agreement.differences(fleet.ledger)
    await execute(fleet, sql.SQL(remove))
    assert any("'stray'" in difference for difference in differences)
    await fleet.agrees()


@pytest.mark.parametrize("what", DAMAGES)
async def test_what_is_not_as_recorded_is_seen(fleet: Fleet, what: str) -> None:
    """Credentials that do not work, a database that is lost, open too wide, or nobody's."""
    instance, binding = new_id(), new_id()
    async with fleet.platform() as platform:
        await platform.provision(instance)
        await platform.bind(instance, binding)
        told = fleet.ledger.bindings[instance, binding]
        names = {"login": told["username"], "database": told["database"]}
        damage = {name: sql.Identifier(value) for name, value in names.items()}
        await fleet.agrees()
        await execute(fleet, sql.SQL(DAMAGES[what]).format(**damage))
        assert await fleet.agreement.differences(fleet.ledger)
        await platform.deprovision(instance)
    await fleet.agrees()


async def test_what_was_told_differently_is_seen(fleet: Fleet) -> None:
    """An instance, a binding, a plan or a parameter that a platform believes in."""
    instance, binding = new_id(), new_id()
    async with fleet.platform() as platform:
        await platform.provision(instance)
        await platform.bind(instance, binding)
        ledger = fleet.ledger
        credentials = ledger.bindings[instance, binding]
        wrong = (
            replace(ledger, instances={}),
            replace(ledger, instances={**ledger.instances, new_id(): Known(SMALL)}),
            replace(ledger, instances={instance: Known(BIG)}),
            replace(ledger, instances={instance: Known(SMALL, {"extensions": []})}),
            replace(ledger, bindings={}),
            replace(ledger, bindings={**ledger.bindings, (instance, new_id()): credentials}),
            replace(ledger, revoked=[credentials]),
            replace(ledger, kept={new_id(): Known(SMALL)}),
            replace(ledger, brief={(instance, binding)}),
        )
        for told in wrong:
            assert await fleet.agreement.differences(told)
        await platform.deprovision(instance)
    await fleet.agrees()


async def test_a_job_of_nothing_is_seen(fleet: Fleet) -> None:
    """A job that would take over an operation that is not there, or is over."""
    async with await AsyncConnection.connect(fleet.state_dsn, autocommit=True) as state:
        await state.execute(
            "SELECT pgbroker.defer_takeover(gen_random_uuid(), now() + interval '1 hour')"
        )
        assert any("a job of" in found for found in await fleet.agreement.differences(fleet.ledger))
        await state.execute(FORGET_JOBS)
    await fleet.agrees()


async def test_an_operation_that_no_job_would_take_over_is_seen(fleet: Fleet) -> None:
    """Should its process die, nobody would go on with it."""
    async with fleet.platform() as platform, fleet.platform(fleet.failing) as slow:
        request = await Request.prepared(platform, OperationKind.BIND)
        await fleet.arm(OperationKind.BIND, Boundary.RECORDED, Action.HOLD)
        sent = asyncio.create_task(request.sent_once(slow))
        await fleet.reached()
        assert not await fleet.agreement.unattended()
        async with await AsyncConnection.connect(fleet.state_dsn, autocommit=True) as state:
            await state.execute(FORGET_JOBS)
        assert await fleet.agreement.unattended()
        fleet.failpoints.disarm()
        await sent
        await request.settled(platform)
    await fleet.agrees()


async def execute(fleet: Fleet, statement: sql.SQL | sql.Composed) -> None:
    """Run a statement as the superuser."""
    async with await AsyncConnection.connect(
        fleet.postgres.superuser_dsn(), autocommit=True
    ) as server:
        await server.execute(statement)
