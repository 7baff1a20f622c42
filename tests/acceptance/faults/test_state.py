"""The state database goes down, before and in the middle of operations."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from broker.domain.operation import OperationKind
from broker.embedded import StopMode
from broker.store import migrate
from tests.acceptance.faults.boundaries import boundaries
from tests.acceptance.faults.requests import Request
from tests.support.faults_failpoints import Action, Boundary
from tests.support.faults_fleet import Fleet, a_fleet
from tests.support.faults_platform import CREATED, DELETED, path
from tests.support.faults_servers import own_server
from tests.support.faults_waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.faults_servers import OwnServer
    from tests.support.postgres import PostgresServer


RECORDED = {kind.value: Boundary.RECORDED for kind in OperationKind}
LAST_STEPS = {kind: name for kind, name in boundaries() if name not in {*Boundary}}
"""By kind; of several steps the last one counts."""


@pytest.fixture
async def state(servers: Path) -> AsyncIterator[OwnServer]:
    """Return a server with nothing but a state database."""
    async with own_server(servers / "state") as server:
        await migrate(server.postgres.broker_dsn())
        yield server


@pytest.fixture
async def stateful(
    state: OwnServer, postgres: PostgresServer, tmp_path: Path
) -> AsyncIterator[Fleet]:
    """Return a fleet with its state on a server that may be stopped."""
    fleet = a_fleet(postgres, state.postgres.broker_dsn(), tmp_path)
    try:
        await fleet.begin()
        yield fleet
    finally:
        fleet.end()


async def test_a_state_database_that_is_down(state: OwnServer, stateful: Fleet) -> None:
    """Every request is 503 and has no effect, ``/readyz`` says so; afterwards all works again."""
    fleet = stateful
    async with fleet.platform() as platform:
        requests = [await Request.prepared(platform, kind) for kind in OperationKind]
        await state.embedded.stop(StopMode.IMMEDIATE)
        for request in requests:
            refused = await request.sent_once(platform)
            assert refused is not None
            assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert await status(fleet, "/readyz") == httpx.codes.SERVICE_UNAVAILABLE
        assert await status(fleet, "/healthz") == httpx.codes.OK
        await state.embedded.start()
        await fleet.agrees()
        await until(lambda: ready(fleet), what="it is ready again")
        for request in requests:
            assert (await request.settled(platform)).status_code in CREATED | DELETED
    await fleet.agrees()


async def test_a_replica_started_without_its_state_database(
    state: OwnServer, stateful: Fleet
) -> None:
    """It starts, says that it is not ready, and works as soon as the database is there."""
    fleet = stateful
    await state.embedded.stop()
    await fleet.failing.start(ready=False)
    await state.embedded.start()
    async with fleet.platform(fleet.failing) as platform:
        request = await Request.prepared(platform, OperationKind.PROVISION)
        assert (await request.settled(platform)).status_code in CREATED
        # What is left by a replica that dies is taken over by the one that started without it.
        await until(lambda: ready(fleet), what="it is ready again")
        assert (await platform.deprovision(request.instance)).status_code in DELETED
    await fleet.agrees()


@pytest.mark.parametrize(
    ("where", "mode"), [("recorded", StopMode.KILL), ("last step", StopMode.FAST)]
)
async def test_a_state_database_lost_within_operations(
    state: OwnServer, stateful: Fleet, where: str, mode: StopMode
) -> None:
    """Whatever each operation was about to do, it is finished once the database is back."""
    fleet = stateful
    async with fleet.platform() as platform, fleet.platform(fleet.failing) as unlucky:
        requests = [await Request.prepared(platform, kind) for kind in OperationKind]
        for kind, boundary in (RECORDED if where == "recorded" else LAST_STEPS).items():
            await fleet.arm(kind, boundary, Action.HOLD)
        sent = [asyncio.create_task(request.sent_once(unlucky)) for request in requests]
        await fleet.reached()
        await state.embedded.stop(mode)
        fleet.failpoints.disarm()
        await asyncio.wait(sent)
        await state.embedded.start()
        for request in requests:
            assert (await request.settled(platform)).status_code in CREATED | DELETED
    await fleet.agrees()


async def test_a_takeover_that_loses_the_state_database(state: OwnServer, stateful: Fleet) -> None:
    """Whoever has taken over does so again when the database is back, although nobody asks."""
    fleet = stateful
    kind = OperationKind.PROVISION
    async with fleet.platform(fleet.failing) as platform:
        request = await Request.prepared(platform, kind)
        await fleet.arm(kind, Boundary.RECORDED, Action.KILL)
        assert await request.sent_once(platform) is None
        fleet.failing.reap()
        fleet.survivor.kill()
        await fleet.arm(kind, LAST_STEPS[kind], Action.HOLD)
        await fleet.reached()
        await state.embedded.stop()
        fleet.failpoints.disarm()
        await until(lambda: gave_up(fleet), what="the takeover has noticed")
        await state.embedded.start()

        async def over() -> bool:
            polled = await platform.once("GET", f"{path(request.instance)}/last_operation")
            assert polled is not None
            return not polled.is_error and polled.json()["state"] == "succeeded"

        await until(over, what="it has succeeded")
        assert (await request.settled(platform)).status_code == httpx.codes.OK
    await fleet.agrees()


def gave_up(fleet: Fleet) -> bool:
    """Tell whether the failing replica has met a state database that is down in a takeover."""
    log = fleet.failing.log_file.read_text("utf-8")
    return "takeover will be repeated" in log or "operation taken over has failed" in log


async def ready(fleet: Fleet) -> bool:
    """Tell whether the survivor says that it is ready."""
    return await status(fleet, "/readyz") == httpx.codes.OK


async def status(fleet: Fleet, where: str) -> int:
    """Return the status of the survivor's answer."""
    async with fleet.platform() as platform:
        response = await platform.once("GET", where)
    assert response is not None
    return response.status_code
