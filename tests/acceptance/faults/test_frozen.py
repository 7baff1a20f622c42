"""A replica that stands still past its lease and then goes on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from broker.domain.operation import OperationKind
from tests.acceptance.faults.boundaries import boundaries
from tests.acceptance.faults.requests import Request
from tests.support.faults_failpoints import Action, Boundary
from tests.support.faults_platform import CREATED, DELETED, path

if TYPE_CHECKING:
    from tests.support.faults_fleet import Fleet
    from tests.support.faults_platform import PatientPlatform

IN_TRANSACTION = [
    (OperationKind.PROVISION, Boundary.RECORDING),
    (OperationKind.UPDATE, Boundary.RECORDING),
    (OperationKind.DEPROVISION, Boundary.RECORDING),
    (OperationKind.BIND, Boundary.RECORDING),
    (OperationKind.UNBIND, Boundary.RECORDING),
    (OperationKind.UPDATE, Boundary.FINISHING),
]
"""Where it keeps others from its rows in the state while it stands still."""

UNLOCKED = [
    (kind, boundary)
    for kind, boundary in boundaries()
    if boundary in {*Boundary} and (kind, boundary) not in IN_TRANSACTION
]
"""Where it keeps nobody from the database or from its rows while it stands still."""


@pytest.mark.parametrize(("kind", "boundary"), UNLOCKED)
async def test_a_replica_that_wakes_up_late_changes_nothing(
    fleet: Fleet, kind: str, boundary: str
) -> None:
    """While it stands still another replica does the work; once it goes on, all stays as it is."""
    async with fleet.platform() as platform, fleet.platform(fleet.failing) as slow:
        request = await Request.prepared(platform, kind)
        late = await frozen(fleet, slow, request, boundary)
        assert (await request.settled(platform)).status_code in CREATED | DELETED
        fleet.failing.thaw()
        answer = await late
        assert answer is not None
        assert answer.status_code in CREATED | DELETED, answer.text
    await fleet.agrees()


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        (kind, boundary)
        for kind, boundary in [*UNLOCKED, *IN_TRANSACTION]
        if kind in {OperationKind.PROVISION, OperationKind.BIND}
    ],
)
async def test_a_replica_that_wakes_up_late_brings_nothing_back(
    fleet: Fleet, kind: str, boundary: str
) -> None:
    """What was deleted while it stood still is not made again, be it recorded by then or not."""
    async with fleet.platform() as platform, fleet.platform(fleet.failing) as slow:
        request = await Request.prepared(platform, kind)
        late = await frozen(fleet, slow, request, boundary)
        if request.binding is None:
            await platform.deprovision(request.instance)
        else:
            await platform.unbind(request.instance, request.binding)
        await fleet.agrees()
        fleet.failing.thaw()
        assert await late is not None
    await fleet.agrees()


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [found for found in boundaries() if found[1] not in {*Boundary}],
)
async def test_a_replica_that_stands_still_with_the_lock(
    fleet: Fleet, kind: str, boundary: str
) -> None:
    """Whoever takes over waits for the lock; the late one gives it back and changes nothing."""
    async with fleet.platform() as platform, fleet.platform(fleet.failing) as slow:
        request = await Request.prepared(platform, kind)
        late = await frozen(fleet, slow, request, boundary)
        lease = await fleet.lease_of(request.instance)
        again = asyncio.create_task(request.settled(platform))
        await fleet.taken_over(request.instance, lease)
        fleet.failing.thaw()
        assert (await again).status_code in CREATED | DELETED
        answer = await late
        assert answer is not None
        assert answer.status_code in CREATED | DELETED, answer.text
    await fleet.agrees()


@pytest.mark.parametrize(("kind", "boundary"), IN_TRANSACTION)
async def test_a_replica_that_stands_still_within_a_transaction(
    fleet: Fleet, kind: str, boundary: str
) -> None:
    """The state database gives its rows to others before long; the late one changes nothing."""
    async with fleet.platform() as platform, fleet.platform(fleet.failing) as slow:
        request = await Request.prepared(platform, kind)
        late = await frozen(fleet, slow, request, boundary)
        assert (await request.settled(platform)).status_code in CREATED | DELETED
        fleet.failing.thaw()
        answer = await late
        assert answer is not None
        # Whether its transaction was ended before it took effect, it has to find out.
        told = CREATED | DELETED | {httpx.codes.SERVICE_UNAVAILABLE}
        assert answer.status_code in told, answer.text
    await fleet.agrees()


@pytest.mark.parametrize("kind", [OperationKind.PROVISION, OperationKind.BIND])
async def test_a_request_that_is_read_after_its_client_has_gone(fleet: Fleet, kind: str) -> None:
    """A client that gave up was told that there is nothing to delete, and so it remains."""
    async with fleet.platform() as platform, fleet.platform(fleet.failing) as slow:
        request = await Request.prepared(platform, kind)
        await fleet.failing.start()
        fleet.failing.freeze()
        assert await request.sent_once(slow, within=0.1) is None
        if request.binding is None:
            await platform.deprovision(request.instance)
        else:
            await platform.unbind(request.instance, request.binding)
        fleet.failing.thaw()
        # It serves one request after the other of those that came while it stood still.
        answer = await slow.once("GET", path(request.instance, request.binding))
        assert answer is not None
        assert answer.status_code == httpx.codes.NOT_FOUND
    await fleet.agrees()


async def frozen(
    fleet: Fleet, slow: PatientPlatform, request: Request, boundary: str
) -> asyncio.Task[httpx.Response | None]:
    """Have the failing replica stand still at a boundary; return the request it works on."""
    if boundary is Boundary.RECORDING:
        # One that has just started counts what is on the servers: within the transaction.
        fleet.failing.kill()
    await fleet.arm(request.kind, boundary, Action.HOLD)
    sent = asyncio.create_task(request.sent_once(slow))
    await fleet.reached()
    fleet.failing.freeze()
    fleet.failpoints.disarm()
    return sent
