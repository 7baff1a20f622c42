"""A replica that is told to stop while it is at work on what it has accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from psycopg import AsyncConnection

from broker.domain.operation import OperationKind
from tests.acceptance.faults.boundaries import first_step
from tests.acceptance.faults.requests import Request
from tests.support.faults_failpoints import Action
from tests.support.faults_waiting import until

if TYPE_CHECKING:
    from uuid import UUID

    from tests.support.faults_fleet import Fleet

LEASE_OF = "SELECT lease_token FROM pgbroker.operations WHERE id = %s"


async def lease_of(fleet: Fleet, operation: str) -> UUID:
    """Return the token of who works, or has worked last, on an operation."""
    async with await AsyncConnection.connect(fleet.state_dsn, autocommit=True) as state:
        row = await (await state.execute(LEASE_OF, [operation])).fetchone()
    assert row is not None
    token: UUID = row[0]
    return token


async def listens(fleet: Fleet) -> bool:
    """Tell whether the failing replica still takes requests."""
    try:
        async with httpx.AsyncClient() as client:
            await client.get(f"{fleet.failing.url}/healthz")
    except httpx.TransportError:
        return False
    return True


async def leaving(fleet: Fleet, request: Request) -> str:
    """Have the failing replica told to stop while it is held at an accepted request.

    Returns:
        The operation.
    """
    await fleet.arm(request.kind, first_step(request.kind), Action.HOLD)
    async with fleet.platform(fleet.failing) as slow:
        accepted = await request.sent_once(slow, accepts_incomplete="true")
    assert accepted is not None
    assert accepted.status_code == 202, accepted.text
    fleet.failing.ask_to_stop()

    async def deaf() -> bool:
        return not await listens(fleet)

    await until(deaf, what="the replica takes no more requests")
    assert fleet.failing.alive
    operation: str = accepted.json()["operation"]
    return operation


@pytest.mark.parametrize("kind", [kind.value for kind in OperationKind])
async def test_what_was_accepted_is_finished_before_the_end(hasty_fleet: Fleet, kind: str) -> None:
    """Nobody has to take it over: whoever accepted it has done it, and only then ends."""
    fleet = hasty_fleet
    async with fleet.platform() as platform:
        request = await Request.prepared(platform, kind)
        operation = await leaving(fleet, request)
        before = await lease_of(fleet, operation)
        fleet.failpoints.disarm()
        assert await fleet.failing.stopped() == 0
        assert await lease_of(fleet, operation) == before
        ended = await request.polled(platform, operation=operation)
        assert ended.status_code == 410 or ended.json() == {"state": "succeeded"}
        await request.settled(platform)
    await fleet.agrees()


@pytest.mark.parametrize("kind", [kind.value for kind in OperationKind])
async def test_what_takes_too_long_is_left_to_another_replica(
    hasty_fleet: Fleet, kind: str
) -> None:
    """A replica does not hold up its own end for ever, and nothing it has accepted is lost."""
    fleet = hasty_fleet
    async with fleet.platform() as platform:
        request = await Request.prepared(platform, kind)
        operation = await leaving(fleet, request)
        before = await lease_of(fleet, operation)
        assert await fleet.failing.stopped() == 0
        ended = await request.over(platform, operation=operation)
        assert ended.status_code == 410 or ended.json() == {"state": "succeeded"}
        assert await lease_of(fleet, operation) != before
        await request.settled(platform)
    await fleet.agrees()
