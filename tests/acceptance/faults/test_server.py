"""The server of the tenants goes down, is full, or dies in the middle of a DROP."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import httpx
import psycopg

from broker.domain.operation import OperationKind
from broker.embedded import StopMode
from tests.acceptance.faults.requests import Request
from tests.integration.postgres.servers import PASSWORD
from tests.support.catalog import BIG
from tests.support.faults_fleet import a_fleet
from tests.support.faults_platform import CREATED, DELETED
from tests.support.faults_servers import own_server
from tests.support.faults_waiting import until
from tests.support.platform import new_id

if TYPE_CHECKING:
    from pathlib import Path
    from typing import LiteralString

    from tests.support.faults_fleet import Fleet
    from tests.support.faults_platform import PatientPlatform
    from tests.support.faults_servers import OwnServer

CHECKPOINTER: LiteralString = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
DROPPING: LiteralString = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'DROP DATABASE%%'"
INVALID: LiteralString = "SELECT count(*) FROM pg_database WHERE datconnlimit = -2"

SLOTS = 12
"""Connections of a server that is easily filled, three of them the superuser's."""


async def test_a_server_that_is_down_and_comes_back(
    fragile: OwnServer, fragile_fleet: Fleet
) -> None:
    """Whoever can poll is told that it goes on, the others to ask again; then all is done."""
    fleet = fragile_fleet
    async with fleet.platform(asynchronous=True) as patient, fleet.platform() as other:
        polled = [await Request.prepared(patient, kind) for kind in OperationKind]
        repeated = [await Request.prepared(other, kind) for kind in OperationKind]
        await fragile.embedded.stop(StopMode.IMMEDIATE)
        settled = [asyncio.create_task(request.settled(patient)) for request in polled]
        settled += [asyncio.create_task(request.settled(other)) for request in repeated]
        for request in polled:
            await until(partial(fleet.is_busy, request.instance), what="it is recorded")
            told = await waiting_for(patient, request)
            assert "'shared'" in told
            assert PASSWORD not in told
        unwanted = Request(OperationKind.PROVISION, new_id(), None)
        refused = await unwanted.sent_once(other)
        assert refused is not None
        assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert "'shared'" in refused.json()["description"]
        assert PASSWORD not in refused.text
        assert not any(task.done() for task in settled)
        await fragile.embedded.start()
        for answered in await asyncio.gather(*settled):
            assert answered.status_code in CREATED | DELETED, answered.text
        assert (await other.deprovision(unwanted.instance)).status_code in DELETED
    await fleet.agrees()


async def test_a_server_that_is_full(servers: Path, state_dsn: str, tmp_path: Path) -> None:
    """Without a connection to be had the work waits, and is done once tenants have gone."""
    settings = {"max_connections": str(SLOTS), "max_wal_senders": "0", "reserved_connections": "0"}
    async with own_server(servers / "full", **settings) as server:
        few = {"SYNC_WINDOW_SECONDS": "1", "SERVER_CONNECTIONS": "4"}
        fleet = a_fleet(server.postgres, state_dsn, tmp_path, **few)
        try:
            await fleet.begin()
            async with fleet.platform(asynchronous=True) as platform, AsyncExitStack() as stack:
                requests = [await Request.prepared(platform, kind) for kind in OperationKind]
                crowd = new_id()
                await platform.provision(crowd, BIG)
                for _ in range(3):
                    await platform.bind(crowd, new_id())
                fleet.survivor.kill()
                for key, credentials in fleet.ledger.bindings.items():
                    if key[0] == crowd:
                        await fill(stack, credentials["uri"])
                await fleet.survivor.start()
                settled = [asyncio.create_task(each.settled(platform)) for each in requests]
                for each in requests:
                    await until(partial(fleet.is_busy, each.instance), what="it is recorded")
                assert not any(task.done() for task in settled)
                await stack.aclose()
                for answer in await asyncio.gather(*settled):
                    assert answer.status_code in CREATED | DELETED, answer.text
            await fleet.agrees()
        finally:
            fleet.end()


async def test_a_backend_killed_within_drop_database(
    fragile: OwnServer, fragile_fleet: Fleet
) -> None:
    """It leaves a database that nobody can use; the deletion goes on and takes it away."""
    fleet = fragile_fleet
    async with fleet.platform() as platform, await fragile.superuser() as superuser:
        request = await Request.prepared(platform, OperationKind.DEPROVISION)
        checkpointer = await value(superuser, CHECKPOINTER)
        assert checkpointer is not None
        # DROP DATABASE waits for a checkpoint after it has marked the database invalid.
        os.kill(checkpointer, signal.SIGSTOP)
        deleting = asyncio.create_task(request.settled(platform))

        async def invalid() -> bool:
            return await value(superuser, INVALID) == 1

        try:
            await until(invalid, what="DROP DATABASE has begun")
            dropping = await value(superuser, DROPPING)
            assert dropping is not None
            os.kill(dropping, signal.SIGKILL)
        finally:
            os.kill(checkpointer, signal.SIGCONT)
        assert (await deleting).status_code in DELETED
    await fleet.agrees()


async def waiting_for(platform: PatientPlatform, request: Request) -> str:
    """Poll until it is told what an operation in progress is waiting for; return that."""
    told: list[str] = []

    async def says_so() -> bool:
        polled = (await request.polled(platform)).json()
        assert polled["state"] == "in progress"
        told.append(polled["description"])
        return "server" in told[-1]

    await until(says_so, what="it says what it waits for")
    return told[-1]


async def fill(stack: AsyncExitStack, dsn: str) -> None:
    """Open sessions until there is no room for another."""
    while True:
        try:
            session = await psycopg.AsyncConnection.connect(dsn, autocommit=True)
        except psycopg.OperationalError:
            return
        stack.push_async_callback(session.close)


async def value(connection: psycopg.AsyncConnection, query: LiteralString) -> int | None:
    """Return the one value that a query finds, if it finds any."""
    row = await (await connection.execute(query)).fetchone()
    return None if row is None else row[0]
