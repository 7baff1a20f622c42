"""Replicas that are restarted one after the other, while platforms work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from broker.domain.operation import OperationKind
from tests.acceptance.faults.requests import Request
from tests.support.faults_failpoints import Action, Boundary
from tests.support.faults_platform import CREATED, DELETED

if TYPE_CHECKING:
    from tests.support.faults_fleet import Fleet

CLIENTS = 4


async def test_a_rolling_restart_under_load(fleet: Fleet) -> None:
    """No request fails, but that a replica that is not there does not listen."""
    await fleet.failing.start()
    replicas = fleet.survivor, fleet.failing
    over = asyncio.Event()

    async def lives() -> None:
        async with fleet.platform(*replicas) as platform:
            while not over.is_set():
                for kind in OperationKind:
                    request = await Request.prepared(platform, kind)
                    answer = await request.sent_once(platform)
                    assert answer is not None, kind
                    assert answer.status_code in CREATED | DELETED, answer.text
                    await request.settled(platform)
                    await platform.deprovision(request.instance)

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(lives())
        try:
            for replica in replicas:
                replica.ask_to_stop()
                assert await replica.stopped() == 0
                await replica.start()
        finally:
            over.set()
    await fleet.agrees()


@pytest.mark.parametrize("kind", [kind.value for kind in OperationKind])
async def test_a_replica_that_is_told_to_stop_finishes_what_it_is_doing(
    fleet: Fleet, kind: str
) -> None:
    """The answer to the request it is working on is the last thing it sends."""
    async with fleet.platform() as platform, fleet.platform(fleet.failing) as leaving:
        request = await Request.prepared(platform, kind)
        await fleet.arm(kind, Boundary.RECORDED, Action.HOLD)
        sent = asyncio.create_task(request.sent_once(leaving))
        await fleet.reached()
        fleet.failing.ask_to_stop()
        fleet.failpoints.disarm()
        answer = await sent
        assert answer is not None
        assert answer.status_code in CREATED | DELETED, answer.text
        assert await fleet.failing.stopped() == 0
        await request.settled(platform)
    await fleet.agrees()
