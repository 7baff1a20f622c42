"""The state database fails over to a standby in the middle of operations."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from broker.domain.operation import OperationKind
from tests.acceptance.faults.requests import Request
from tests.support.faults_failpoints import Action, Boundary
from tests.support.faults_fleet import a_fleet
from tests.support.faults_platform import CREATED, DELETED
from tests.support.faults_standby import state_pair

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import PostgresServer


@pytest.mark.parametrize("boundary", [Boundary.RECORDING, Boundary.RECORDED, Boundary.FINISHING])
async def test_a_standby_takes_the_place_of_the_state_database(
    servers: Path, postgres: PostgresServer, tmp_path: Path, boundary: Boundary
) -> None:
    """Replicas find it by themselves, and whatever each operation was about to do is finished."""
    async with state_pair(servers) as pair:
        fleet = a_fleet(postgres, pair.dsn, tmp_path)
        try:
            await fleet.begin()
            async with fleet.platform() as platform, fleet.platform(fleet.failing) as unlucky:
                requests = [await Request.prepared(platform, kind) for kind in OperationKind]
                for kind in OperationKind:
                    await fleet.arm(kind, boundary, Action.HOLD)
                sent = [asyncio.create_task(request.sent_once(unlucky)) for request in requests]
                await fleet.reached()
                await pair.fail_over()
                fleet.failpoints.disarm()
                await asyncio.wait(sent)
                for request in requests:
                    assert (await request.settled(platform)).status_code in CREATED | DELETED
            await fleet.agrees()
        finally:
            fleet.end()
