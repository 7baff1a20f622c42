"""The answer to COMMIT gets lost between a replica and its state database."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from broker.domain.operation import OperationKind
from tests.acceptance.faults.requests import Request
from tests.integration.store.test_lost_commit import ONE_ROW, Fault, through_proxy
from tests.support.faults_failpoints import Action, Boundary, Failpoint
from tests.support.faults_platform import CREATED, DELETED
from tests.support.faults_replica import Replica

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.store.test_lost_commit import Proxy
    from tests.support.faults_fleet import Fleet


KINDS = [kind.value for kind in OperationKind]

FINISHING = b"pgbroker.forget_takeover"
"""In the statement that finishes an operation, for most kinds a transaction of its own."""


@pytest.fixture
async def proxied(fleet: Fleet, tmp_path: Path) -> AsyncIterator[tuple[Proxy, Replica]]:
    """Return a proxy, and a replica that reaches its state database through it."""
    # The worker of a replica that ends does not say goodbye to its state database.
    with suppress(ConnectionError):
        async with through_proxy(fleet.state_dsn) as (proxy, dsn):
            replica = Replica(
                "proxied",
                {**fleet.environ, "PGBROKER_STATE_DSN": dsn},
                tmp_path / "proxied.log",
                failpoints=fleet.failpoints.directory,
            )
            try:
                await replica.start()
                yield proxy, replica
            finally:
                replica.kill()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_recording_whose_acknowledgement_is_lost(
    fleet: Fleet, proxied: tuple[Proxy, Replica], kind: str
) -> None:
    """The replica finds out that it was committed, and goes on: the caller notices nothing."""
    proxy, replica = proxied
    async with fleet.platform() as platform, fleet.platform(replica) as unlucky:
        request = await Request.prepared(platform, kind)
        fleet.failpoints.arm(Failpoint(kind, Boundary.RECORDING, Action.HOLD))
        sent = asyncio.create_task(request.sent_once(unlucky))
        await fleet.reached()
        proxy.fault = Fault.ANSWER_LOST
        fleet.failpoints.disarm()
        answer = await sent
        assert proxy.struck.is_set()
        assert answer is not None
        assert answer.status_code in CREATED | DELETED, answer.text
        await request.settled(platform)
    await fleet.agrees()


@pytest.mark.parametrize("kind", KINDS)
async def test_an_end_whose_acknowledgement_is_lost(
    fleet: Fleet, proxied: tuple[Proxy, Replica], kind: str
) -> None:
    """The replica finds out that the operation is over: the caller notices nothing."""
    proxy, replica = proxied
    async with fleet.platform() as platform, fleet.platform(replica) as unlucky:
        request = await Request.prepared(platform, kind)
        fleet.failpoints.arm(Failpoint(kind, Boundary.FINISHING, Action.HOLD))
        sent = asyncio.create_task(request.sent_once(unlucky))
        await fleet.reached()
        if kind != OperationKind.UPDATE:  # which ends with a COMMIT
            proxy.request, proxy.answer = FINISHING, ONE_ROW
        proxy.fault = Fault.ANSWER_LOST
        fleet.failpoints.disarm()
        answer = await sent
        assert proxy.struck.is_set()
        assert answer is not None
        assert answer.status_code in CREATED | DELETED, answer.text
        await request.settled(platform)
    await fleet.agrees()
