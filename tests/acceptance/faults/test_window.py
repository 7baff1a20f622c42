"""Work that is quick as a rule, and takes longer than its request can wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.domain.operation import OperationKind
from tests.acceptance.faults.boundaries import first_step
from tests.acceptance.faults.requests import Request
from tests.support.faults_failpoints import Action
from tests.support.faults_platform import CREATED, DELETED

if TYPE_CHECKING:
    from tests.support.faults_fleet import Fleet

KINDS = [kind.value for kind in OperationKind]
DELETING = {OperationKind.DEPROVISION, OperationKind.UNBIND}
TOLD = {
    OperationKind.PROVISION: "The database is being created.",
    OperationKind.UPDATE: "The database is being changed.",
    OperationKind.DEPROVISION: "The database is being deleted.",
    OperationKind.BIND: "The credentials are being created.",
    OperationKind.UNBIND: "The credentials are being revoked.",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_caller_that_can_poll_is_told_the_truth_until_the_end(
    hasty_fleet: Fleet, kind: str
) -> None:
    """After the window it gets 202 and an operation, asked again the same one, and then the end."""
    fleet = hasty_fleet
    async with fleet.platform() as platform, fleet.platform(fleet.failing) as slow:
        request = await Request.prepared(platform, kind)
        await fleet.arm(kind, first_step(kind), Action.HOLD)
        for asked in (slow, slow, platform):
            accepted = await request.sent_once(asked, accepts_incomplete="true")
            assert accepted is not None
            assert accepted.status_code == 202, accepted.text
            operation = accepted.json()["operation"]
            working = await request.polled(platform, operation=operation)
            assert working.json() == {
                "state": "in progress",
                "description": TOLD[OperationKind(kind)],
            }
        fleet.failpoints.disarm()
        ended = await request.over(platform, operation=operation)
        assert ended.status_code == (410 if kind in DELETING else 200)
        assert ended.json().get("state") == (None if kind in DELETING else "succeeded")
        await request.settled(platform)
    await fleet.agrees()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_caller_that_cannot_poll_is_told_to_ask_again(
    hasty_fleet: Fleet, kind: str
) -> None:
    """After the window it gets a temporary failure, and once the work is done the good answer."""
    fleet = hasty_fleet
    async with fleet.platform() as platform, fleet.platform(fleet.failing) as slow:
        request = await Request.prepared(platform, kind)
        await fleet.arm(kind, first_step(kind), Action.HOLD)
        for asked in (slow, platform):
            late = await request.sent_once(asked)
            assert late is not None
            assert late.status_code == 503, late.text
            assert int(late.headers["retry-after"]) > 0
            assert "goes on in the background" in late.json()["description"]
        fleet.failpoints.disarm()
        assert (await request.settled(platform)).status_code in CREATED | DELETED
    await fleet.agrees()
