"""``kill -9`` at every boundary of every operation, and in the middle of a statement."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import psycopg
import pytest

from broker.domain.operation import OperationKind
from tests.acceptance.faults.boundaries import boundaries
from tests.acceptance.faults.requests import Request
from tests.support.catalog import SLOW
from tests.support.faults_failpoints import Action, Boundary
from tests.support.faults_platform import CREATED, DELETED, path
from tests.support.faults_waiting import until

if TYPE_CHECKING:
    from tests.support.faults_fleet import Fleet

ACCEPTED = [
    (kind, boundary)
    for kind, boundary in boundaries()
    # Before those there is no answer yet.
    if boundary not in {Boundary.RECORDING, Boundary.RECORDED}
]

HOLD_UP_CREATE_DATABASE = "BEGIN; COMMENT ON DATABASE template0 IS 'held'"
"""Takes a lock that CREATE DATABASE needs, so that it is certain to be met at work."""

CREATING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE query LIKE 'CREATE DATABASE%' AND state = 'active' AND wait_event_type = 'Lock'
"""


@pytest.mark.parametrize(("kind", "boundary"), boundaries())
async def test_the_same_request_again_finishes_what_a_killed_replica_began(
    fleet: Fleet, kind: str, boundary: str
) -> None:
    """Wherever the process dies, the same request to another replica ends as if nothing had."""
    request = await killed(fleet, kind, boundary)
    async with fleet.platform() as platform:
        answer = await request.settled(platform)
    assert answer.status_code in CREATED | DELETED, answer.text
    await fleet.agrees()


@pytest.mark.parametrize(
    ("kind", "boundary"), boundaries(OperationKind.PROVISION, OperationKind.BIND)
)
async def test_a_deletion_takes_away_what_a_killed_replica_began(
    fleet: Fleet, kind: str, boundary: str
) -> None:
    """Wherever the process dies, orphan mitigation leaves nothing of what was being made."""
    request = await killed(fleet, kind, boundary)
    async with fleet.platform() as platform:
        if request.binding is None:
            answer = await platform.deprovision(request.instance)
        else:
            answer = await platform.unbind(request.instance, request.binding)
    assert answer.status_code in DELETED, answer.text
    await fleet.agrees()


@pytest.mark.parametrize("kind", [kind.value for kind in OperationKind])
async def test_what_a_killed_replica_began_is_finished_although_nobody_asks(
    fleet: Fleet, kind: str
) -> None:
    """Another replica takes it over by itself; a platform that only polls is told the end."""
    request = await killed(fleet, kind, Boundary.RECORDED)
    where = f"{path(request.instance, request.binding)}/last_operation"
    async with fleet.platform() as platform:

        async def over() -> bool:
            polled = await platform.once("GET", where)
            assert polled is not None
            return polled.status_code == 410 or polled.json()["state"] != "in progress"

        await until(over, what=f"the {kind} ends")
        answer = await request.sent_once(platform)
        assert answer is not None
        # The same request again finds it done: 200 for what is there, 410 for what is gone.
        deleted = kind in {OperationKind.DEPROVISION, OperationKind.UNBIND}
        assert answer.status_code == (410 if deleted else 200), answer.text
        await request.settled(platform)
    await fleet.agrees()


@pytest.mark.parametrize(("kind", "boundary"), ACCEPTED)
async def test_what_a_killed_replica_has_accepted_is_done(
    fleet: Fleet, kind: str, boundary: str
) -> None:
    """After a 202 nothing is lost: who polls another replica learns that it is done."""
    async with (
        fleet.platform(asynchronous=True) as platform,
        fleet.platform(fleet.failing) as unlucky,
    ):
        request = await Request.prepared(platform, kind, SLOW)
        await fleet.arm(kind, boundary, Action.HOLD)
        accepted = await request.sent_once(unlucky, accepts_incomplete="true")
        assert accepted is not None
        assert accepted.status_code == 202, accepted.text
        await fleet.reached()
        fleet.failing.kill()
        ended = await request.over(platform, operation=accepted.json()["operation"])
        assert ended.status_code == 410 or ended.json() == {"state": "succeeded"}
        assert (await request.settled(platform)).status_code in CREATED | DELETED
    await fleet.agrees()


async def test_a_replica_killed_within_create_database(fleet: Fleet) -> None:
    """The server goes on without its client; whoever takes over waits for that and adopts it."""
    async with (
        fleet.platform() as platform,
        fleet.platform(fleet.failing) as unlucky,
        await psycopg.AsyncConnection.connect(fleet.postgres.superuser_dsn()) as holder,
        await psycopg.AsyncConnection.connect(
            fleet.postgres.superuser_dsn(), autocommit=True
        ) as observer,
    ):

        async def creating() -> bool:
            return await (await observer.execute(CREATING)).fetchone() == (1,)

        request = await Request.prepared(platform, OperationKind.PROVISION)
        await fleet.failing.start()
        await holder.execute(HOLD_UP_CREATE_DATABASE)
        sent = asyncio.create_task(request.sent_once(unlucky))
        await until(creating, what="CREATE DATABASE is at work")
        lease = await fleet.lease_of(request.instance)
        fleet.failing.kill()
        assert await sent is None
        again = asyncio.create_task(request.settled(platform))
        await fleet.taken_over(request.instance, lease)
        assert await creating()
        await holder.rollback()
        assert (await again).status_code in CREATED
    await fleet.agrees()


async def killed(fleet: Fleet, kind: str, boundary: str) -> Request:
    """Have the failing replica die at a boundary of a request."""
    async with fleet.platform() as platform, fleet.platform(fleet.failing) as unlucky:
        request = await Request.prepared(platform, kind)
        await fleet.arm(kind, boundary, Action.KILL)
        assert await request.sent_once(unlucky) is None
    assert fleet.failing.reap() == -signal.SIGKILL
    return request
