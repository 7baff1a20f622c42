"""A deletion while what it deletes is being made, and clients that do not wait."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import pytest
from psycopg import AsyncConnection

from broker.domain.operation import OperationKind
from tests.acceptance.faults.boundaries import boundaries
from tests.acceptance.faults.requests import Request
from tests.support.catalog import SLOW
from tests.support.faults_failpoints import Action, Boundary
from tests.support.faults_platform import DELETED
from tests.support.faults_waiting import until
from tests.support.platform import new_id

if TYPE_CHECKING:
    import httpx

    from tests.support.faults_fleet import Fleet
    from tests.support.faults_platform import PatientPlatform

DELETING = """
    SELECT count(*) FROM pgbroker.operations
    WHERE instance_id = %s AND state = 'in progress' AND kind IN ('deprovision', 'unbind')
"""

FIELDS = ("instance_usable", "update_repeatable")
"""What an answer to a failed update has to say of the instance."""

IMPATIENT = (0.1, 0.15, 0.2, 0.3, 0.4)
"""Seconds after which a client gives up; some of them within the work, wherever that is."""

MAKING = [
    (kind, boundary)
    for kind, boundary in boundaries(
        OperationKind.PROVISION, OperationKind.BIND, OperationKind.UPDATE
    )
    if boundary not in {Boundary.RECORDING, Boundary.FINISHED}
    # An update about to end keeps the record locked, and who deletes waits for it.
    and (kind, boundary) != (OperationKind.UPDATE, Boundary.FINISHING)
]


@pytest.mark.parametrize(("kind", "boundary"), MAKING)
async def test_a_deletion_halts_what_is_being_made(fleet: Fleet, kind: str, boundary: str) -> None:
    """Its process is alive and at work; once it looks up it stops, and nothing remains.

    Who waits for an update learns that the instance is not to be used, or updated, any more.
    """
    async with fleet.platform() as platform, fleet.platform(fleet.failing) as slow:
        request = await Request.prepared(platform, kind)
        await fleet.arm(kind, boundary, Action.HOLD)
        making = asyncio.create_task(request.sent_once(slow))
        await fleet.reached()
        deleting = asyncio.create_task(delete(platform, request))
        await until(
            lambda: deleting.done() or being_deleted(fleet, request),
            what="the deletion is recorded",
        )
        fleet.failpoints.disarm()
        assert (await deleting).status_code in DELETED
        refused = await making
        assert refused is not None
        assert refused.is_error
        told = {field: value for field, value in refused.json().items() if field in FIELDS}
        assert told == (dict.fromkeys(FIELDS, False) if kind == OperationKind.UPDATE else {})
    await fleet.agrees()


@pytest.mark.parametrize("kind", [OperationKind.PROVISION, OperationKind.BIND])
async def test_a_client_that_gives_up_and_deletes(fleet: Fleet, kind: str) -> None:
    """However soon the DELETE comes after the request it belongs to, nothing remains."""
    async with fleet.platform() as platform:
        for patience in IMPATIENT:
            request = await Request.prepared(platform, kind)
            await request.sent_once(platform, within=patience)
            assert (await delete(platform, request)).status_code in DELETED
    await fleet.agrees()


async def test_an_accepted_provision_that_is_deleted_at_once(fleet: Fleet) -> None:
    """Of what goes on in the background after a 202, nothing remains."""
    async with fleet.platform(asynchronous=True) as platform:
        instances = [new_id() for _ in range(3)]
        making = [asyncio.create_task(platform.provision(each, SLOW)) for each in instances]
        for each in instances:
            await until(partial(fleet.is_recorded, each), what="it is accepted")
        for task in making:
            task.cancel()
        for each in instances:
            assert (await platform.deprovision(each, SLOW)).status_code in DELETED
    await fleet.agrees()


async def delete(platform: PatientPlatform, request: Request) -> httpx.Response:
    """Delete what a request asks for, until it is gone."""
    if request.binding is None:
        return await platform.deprovision(request.instance)
    return await platform.unbind(request.instance, request.binding)


async def being_deleted(fleet: Fleet, request: Request) -> bool:
    """Tell whether a deletion has been recorded."""
    async with await AsyncConnection.connect(fleet.state_dsn, autocommit=True) as state:
        cursor = await state.execute(DELETING, [request.instance])
        return await cursor.fetchone() == (1,)
