"""Two replicas get the same request at the same moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from psycopg import AsyncConnection

from broker.domain.operation import OperationKind
from tests.acceptance.faults.requests import Request
from tests.support.faults_failpoints import Action, Boundary
from tests.support.faults_platform import CREATED, DELETED

if TYPE_CHECKING:
    from tests.support.faults_fleet import Fleet

OPERATIONS = "SELECT count(*) FROM pgbroker.operations WHERE instance_id = %s AND kind = %s"

PAIRS = 4


@pytest.mark.parametrize("kind", [kind.value for kind in OperationKind])
async def test_the_same_request_to_two_replicas_is_one_operation(fleet: Fleet, kind: str) -> None:
    """The second one comes while the first is at work; both callers get the answer."""
    async with fleet.platform() as platform, fleet.platform(fleet.failing) as other:
        request = await Request.prepared(platform, kind)
        before = await operations(fleet, request)
        await fleet.arm(kind, Boundary.RECORDED, Action.HOLD)
        first = asyncio.create_task(request.sent_once(other))
        await fleet.reached()
        second = asyncio.create_task(request.sent_once(platform))
        done, _ = await asyncio.wait({second}, timeout=0.1)
        assert not done
        fleet.failpoints.disarm()
        answers = [await first, await second]
        assert {answer.status_code for answer in answers if answer} <= CREATED | DELETED
        assert len({answer.text for answer in answers if answer}) == 1
        await request.settled(platform)
        assert await operations(fleet, request) == before + 1
    await fleet.agrees()


@pytest.mark.parametrize("kind", [kind.value for kind in OperationKind])
async def test_the_same_requests_at_the_same_moment(fleet: Fleet, kind: str) -> None:
    """Whoever comes first, there is one operation, and both callers can live with the answer."""
    await fleet.failing.start()
    async with fleet.platform() as one, fleet.platform(fleet.failing) as other:
        for _ in range(PAIRS):
            request = await Request.prepared(one, kind)
            before = await operations(fleet, request)
            answers = await asyncio.gather(request.sent_once(one), request.sent_once(other))
            assert {answer.status_code for answer in answers if answer} <= CREATED | DELETED
            await request.settled(one)
            assert await operations(fleet, request) == before + 1
    await fleet.agrees()


async def operations(fleet: Fleet, request: Request) -> int:
    """Count the operations of the request's kind on its instance."""
    async with await AsyncConnection.connect(fleet.state_dsn, autocommit=True) as state:
        row = await (await state.execute(OPERATIONS, [request.instance, request.kind])).fetchone()
    assert row is not None
    count: int = row[0]
    return count
