"""``kill -9``, or a lost answer to COMMIT, when a provision gets a database of the warm stock."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import AsyncConnection

from broker.domain.operation import OperationKind
from tests.acceptance.faults.requests import EXTENSIONS
from tests.integration.store.test_lost_commit import HAND_OVER, ONE_ROW, Fault, through_proxy
from tests.support.catalog import SERVICE, SMALL, with_warm
from tests.support.faults_failpoints import Action, Boundary
from tests.support.faults_fleet import Fleet, a_fleet
from tests.support.faults_platform import CREATED, DELETED, PLACE, path
from tests.support.faults_waiting import until
from tests.support.platform import new_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from httpx import Response

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
    """Whoever comes after the dead one goes on with its database, or takes it away.

    It is claimed by an operation, because it needs another extension.
    """
    instance, answer = await _killed(warm_fleet, boundary, EXTENSIONS)
    assert answer is None
    await _survives(warm_fleet, instance, EXTENSIONS, wanted=wanted)


@pytest.mark.parametrize("boundary", [Boundary.HANDING_OVER, Boundary.HANDED_OVER, Boundary.TAGGED])
@pytest.mark.parametrize("wanted", [True, False])
async def test_a_database_that_was_handed_over_is_tagged_or_dropped(
    warm_fleet: Fleet, boundary: Boundary, wanted: bool
) -> None:
    """An instance that was told to be there is there, whoever dies before its database says so."""
    instance, answer = await _killed(warm_fleet, boundary, {})
    assert (answer is not None) == (boundary is Boundary.TAGGED)
    if answer is not None:
        assert answer.status_code in CREATED
    await _survives(warm_fleet, instance, {}, wanted=wanted)


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.REQUEST_LOST])
async def test_a_handing_over_whose_acknowledgement_is_lost(
    warm_fleet: Fleet, fault: Fault
) -> None:
    """The replica finds out whether it was committed: the caller notices nothing."""
    fleet, instance = warm_fleet, new_id()
    # The worker of a replica that ends does not say goodbye to its state database.
    with suppress(ConnectionError):
        async with through_proxy(fleet.state_dsn) as (proxy, dsn):
            fleet.failing.environ = {**fleet.failing.environ, "PGBROKER_STATE_DSN": dsn}
            await fleet.arm(OperationKind.PROVISION, Boundary.HANDING_OVER, Action.HOLD)
            await until(lambda: _stock_is(fleet, 1), what="the stock is full")
            sent = asyncio.create_task(_provisioned(fleet, instance, {}))
            await fleet.reached()
            proxy.request, proxy.answer, proxy.fault = HAND_OVER, ONE_ROW, fault
            fleet.failpoints.disarm()
            answer = await sent
            assert proxy.struck.is_set()
            assert answer is not None
            assert answer.status_code in CREATED, answer.text
            fleet.failing.kill()
    await _survives(fleet, instance, {}, wanted=True)


async def _survives(
    fleet: Fleet, instance: str, parameters: dict[str, Any], *, wanted: bool
) -> None:
    async with await AsyncConnection.connect(fleet.state_dsn) as state:
        await state.execute(LONG_AGO)
    await fleet.survivor.start()
    async with fleet.platform() as platform:
        if wanted:
            answer = await platform.provision(instance, SMALL, parameters)
            assert answer.status_code in CREATED, answer.text
            assert (await platform.bind(instance, "app")).status_code in CREATED
        else:
            answer = await platform.deprovision(instance)
            assert answer.status_code in DELETED, answer.text
    await until(lambda: _stock_is(fleet, 0), what="the survivor has released the stock")
    await fleet.agrees()


async def _killed(
    fleet: Fleet, boundary: str, parameters: dict[str, Any]
) -> tuple[str, Response | None]:
    """Have a replica die at a boundary of a provision that gets a database of the stock.

    Returns:
        The instance, and the answer, if there was one.
    """
    instance = new_id()
    await fleet.arm(OperationKind.PROVISION, boundary, Action.KILL)
    await until(lambda: _stock_is(fleet, 1), what="the stock is full")
    answer = await _provisioned(fleet, instance, parameters)
    await fleet.reached()
    assert fleet.failing.reap() == -signal.SIGKILL
    return instance, answer


async def _provisioned(fleet: Fleet, instance: str, parameters: dict[str, Any]) -> Response | None:
    """Ask the failing replica for an instance, once."""
    body = {"service_id": SERVICE, "plan_id": SMALL, "context": PLACE, "parameters": parameters}
    async with fleet.platform(fleet.failing) as platform:
        return await platform.once("PUT", path(instance), json=body)


async def _stock_is(fleet: Fleet, size: int) -> bool:
    async with await AsyncConnection.connect(fleet.state_dsn, autocommit=True) as state:
        cursor = await state.execute(
            "SELECT count(*) FILTER (WHERE state = 'ready'), count(*) FROM pgbroker.warm_databases"
        )
        return await cursor.fetchone() == (size, size)
