"""``kill -9`` of a replica whose provision has claimed a database of the warm stock."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from psycopg import AsyncConnection

from broker.domain.operation import OperationKind
from tests.acceptance.faults.requests import Request
from tests.support.catalog import with_warm
from tests.support.faults_failpoints import Action, Boundary
from tests.support.faults_fleet import Fleet, a_fleet
from tests.support.faults_platform import CREATED, DELETED
from tests.support.faults_waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.postgres import PostgresServer

LONG_AGO = "UPDATE pgbroker.warm_databases SET created_at = created_at - interval '1 hour'"


@pytest.fixture
async def warm_fleet(
    postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> AsyncIterator[Fleet]:
    """Return a fleet that does not run yet: the failing replica keeps a stock, the other none."""
    fleet = a_fleet(postgres, state_dsn, tmp_path)
    warm = tmp_path / "warm.yaml"
    warm.write_text(with_warm(1), "utf-8")
    fleet.failing.environ = {**fleet.environ, "PGBROKER_CATALOG_FILE": str(warm)}
    await fleet.agreement.begin()
    try:
        yield fleet
    finally:
        fleet.end()


@pytest.mark.parametrize(
    "boundary", [Boundary.RECORDING, Boundary.RECORDED, "adopt_database", Boundary.FINISHING]
)
@pytest.mark.parametrize("wanted", [True, False])
async def test_a_claimed_database_is_adopted_or_dropped(
    warm_fleet: Fleet, boundary: str, wanted: bool
) -> None:
    """Whoever comes after the dead one goes on with its database, or takes it away."""
    claimed = await _killed(warm_fleet, boundary)
    async with await AsyncConnection.connect(warm_fleet.state_dsn) as state:
        await state.execute(LONG_AGO)
    await warm_fleet.survivor.start()
    async with warm_fleet.platform() as platform:
        if wanted:
            answer = await platform.provision(claimed.instance)
            assert answer.status_code in CREATED, answer.text
            assert (await platform.bind(claimed.instance, "app")).status_code in CREATED
        else:
            answer = await platform.deprovision(claimed.instance)
            assert answer.status_code in DELETED, answer.text
    await until(lambda: _stock_is(warm_fleet, 0), what="the survivor has released the stock")
    await warm_fleet.agrees()


async def _killed(fleet: Fleet, boundary: str) -> Request:
    """Have a replica die at a boundary of a provision that has claimed a database."""
    async with fleet.platform(fleet.failing) as platform:
        request = await Request.prepared(platform, OperationKind.PROVISION)
        await fleet.arm(OperationKind.PROVISION, boundary, Action.KILL)
        await until(lambda: _stock_is(fleet, 1), what="the stock is full")
        assert await request.sent_once(platform) is None
    assert fleet.failing.reap() == -signal.SIGKILL
    return request


async def _stock_is(fleet: Fleet, size: int) -> bool:
    async with await AsyncConnection.connect(fleet.state_dsn, autocommit=True) as state:
        cursor = await state.execute(
            "SELECT count(*) FILTER (WHERE state = 'ready'), count(*) FROM pgbroker.warm_databases"
        )
        return await cursor.fetchone() == (size, size)
