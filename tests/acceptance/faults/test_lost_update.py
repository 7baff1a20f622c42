"""The server of the tenants goes away while an update is being committed on it."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import httpx
import pytest
from psycopg.sql import SQL, Identifier

from broker.domain.operation import OperationKind
from tests.acceptance.faults.requests import Request
from tests.integration.store.test_lost_commit import Fault, through_proxy
from tests.support.catalog import LIMITED, ROOMY, SERVICE, TIGHT
from tests.support.faults_failpoints import Action
from tests.support.faults_fleet import a_fleet
from tests.support.faults_platform import CREATED, path
from tests.support.platform import new_id
from tests.support.postgres import BROKER_ROLE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import LiteralString

    from tests.integration.store.test_lost_commit import Proxy
    from tests.support.faults_fleet import Fleet
    from tests.support.postgres import PostgresServer

UNKNOWN = "whether the change was made"

IN_THE_WAY = SQL("ALTER ROLE {} CONNECTION LIMIT 1")
OWNERS: LiteralString = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'd%\\_owner'"


@asynccontextmanager
async def distantly(
    postgres: PostgresServer, state_dsn: str, directory: Path, **settings: str
) -> AsyncIterator[tuple[Proxy, Fleet]]:
    """Yield a proxy, and a fleet that reaches its tenants' server through it."""
    # A replica that is killed says goodbye to nobody.
    with suppress(ConnectionError):
        async with through_proxy(postgres.broker_dsn()) as (proxy, dsn):
            fleet = a_fleet(postgres, state_dsn, directory, RETRY_SECONDS="1", **settings)
            servers_file = directory / "servers.yaml"
            servers = json.loads(servers_file.read_text("utf-8"))["servers"]
            distant = [{**server, "admin_dsn": dsn} for server in servers]
            servers_file.write_text(json.dumps({"servers": distant}), "utf-8")
            try:
                await fleet.begin()
                yield proxy, fleet
            finally:
                fleet.end()


@pytest.fixture
async def distant(
    postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> AsyncIterator[tuple[Proxy, Fleet]]:
    """Return a proxy, and a fleet that reaches its tenants' server through it."""
    async with distantly(postgres, state_dsn, tmp_path) as proxy_and_fleet:
        yield proxy_and_fleet


@pytest.fixture
async def distant_limited(
    postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> AsyncIterator[tuple[Proxy, Fleet]]:
    """Return the same with plans that limit the storage."""
    catalog_file = tmp_path / "limited.yaml"
    catalog_file.write_text(LIMITED, "utf-8")
    async with distantly(
        postgres, state_dsn, tmp_path, CATALOG_FILE=str(catalog_file)
    ) as proxy_and_fleet:
        yield proxy_and_fleet


@pytest.mark.parametrize("polled", [False, True])
async def test_an_update_whose_server_goes_away_has_not_failed(
    distant: tuple[Proxy, Fleet], *, polled: bool
) -> None:
    """It was made, and nobody says that it was not, however long the server stays away."""
    proxy, fleet = distant
    async with fleet.platform(asynchronous=polled) as platform:
        request = await Request.prepared(platform, OperationKind.UPDATE)
        proxy.fault = Fault.NETWORK_LOST
        answer = await request.sent_once(platform, accepts_incomplete=str(polled).lower())
        assert proxy.struck.is_set()
        assert answer is not None
        if polled:
            assert answer.status_code == httpx.codes.ACCEPTED
        else:
            assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
            assert UNKNOWN in answer.json()["description"]

        # The first one after us has nothing but the record to know that it was begun.
        lease = await fleet.lease_of(request.instance)
        for _ in range(2):
            await fleet.taken_over(request.instance, lease)
            lease = await fleet.lease_of(request.instance)
        told = (await request.polled(platform)).json()
        assert told["state"] == "in progress"
        assert UNKNOWN in told["description"]

        proxy.fault = None
        assert (await request.over(platform)).json()["state"] == "succeeded"
        assert (await request.settled(platform)).status_code in CREATED
    await fleet.agrees()


async def test_an_update_whose_server_goes_away_before_its_commit_has_failed(
    distant: tuple[Proxy, Fleet],
) -> None:
    """It cannot have been made, so nobody has to wait for the server to know."""
    proxy, fleet = distant
    async with fleet.platform() as platform:
        request = await Request.prepared(platform, OperationKind.UPDATE)
        proxy.request, proxy.answer = b"COMMENT ON ROLE", b"COMMENT\0"
        proxy.fault = Fault.NETWORK_LOST
        answer = await request.sent_once(platform)
        assert proxy.struck.is_set()
        assert answer is not None
        assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert UNKNOWN not in answer.json()["description"]
        assert not await fleet.is_busy(request.instance)
        proxy.fault = None
        assert (await request.settled(platform)).status_code in CREATED
    await fleet.agrees()


async def test_an_update_that_was_taken_over_and_cannot_be_made_fails(
    distant: tuple[Proxy, Fleet],
) -> None:
    """Whoever takes it over finds out that it was not made, and has no more patience than ever."""
    _, fleet = distant
    async with fleet.platform() as platform, fleet.platform(fleet.failing) as unlucky:
        request = await Request.prepared(platform, OperationKind.UPDATE)
        await fleet.arm(OperationKind.UPDATE, "adopt_database", Action.KILL)
        assert await request.sent_once(unlucky) is None
        async with fleet.postgres.superuser(BROKER_ROLE) as obstacle:
            await obstacle.execute("BEGIN")
            for (owner,) in await (await obstacle.execute(OWNERS)).fetchall():
                await obstacle.execute(IN_THE_WAY.format(Identifier(owner)))
            assert (await request.over(platform)).json()["state"] == "failed"
            await obstacle.execute("ROLLBACK")
        assert (await request.settled(platform)).status_code in CREATED
    await fleet.agrees()


async def test_a_plan_change_that_goes_on_is_not_measured_again(
    distant_limited: tuple[Proxy, Fleet],
) -> None:
    """Asked for again while its server is away, it is the same operation and no error."""
    proxy, fleet = distant_limited
    async with fleet.platform(asynchronous=True) as platform:
        instance = new_id()
        await platform.provision(instance, TIGHT)
        proxy.fault = Fault.NETWORK_LOST
        change = {"service_id": SERVICE, "plan_id": ROOMY}
        polled = {"accepts_incomplete": "true"}
        answers = [
            await platform.once("PATCH", path(instance), json=change, params=polled)
            for _ in range(2)
        ]
        assert proxy.struck.is_set()
        assert [answer and answer.status_code for answer in answers] == [httpx.codes.ACCEPTED] * 2
        first, second = (answer.json() for answer in answers if answer is not None)
        assert first == second
        proxy.fault = None
        assert (await platform.update(instance, ROOMY)).status_code in CREATED
    await fleet.agrees()
