"""The server of the tenants goes away while an update is being committed on it."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from broker.domain.operation import OperationKind
from tests.acceptance.faults.requests import Request
from tests.integration.store.test_lost_commit import Fault, through_proxy
from tests.support.faults_fleet import a_fleet
from tests.support.faults_platform import CREATED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.integration.store.test_lost_commit import Proxy
    from tests.support.faults_fleet import Fleet
    from tests.support.postgres import PostgresServer

UNKNOWN = "may have been made"


@pytest.fixture
async def distant(
    postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> AsyncIterator[tuple[Proxy, Fleet]]:
    """Return a proxy, and a fleet that reaches its tenants' server through it."""
    # A replica that is killed says goodbye to nobody.
    with suppress(ConnectionError):
        async with through_proxy(postgres.broker_dsn()) as (proxy, dsn):
            fleet = a_fleet(postgres, state_dsn, tmp_path, RETRY_SECONDS="1")
            servers_file = tmp_path / "servers.yaml"
            servers = json.loads(servers_file.read_text("utf-8"))["servers"]
            distant = [{**server, "admin_dsn": dsn} for server in servers]
            servers_file.write_text(json.dumps({"servers": distant}), "utf-8")
            try:
                await fleet.begin()
                yield proxy, fleet
            finally:
                fleet.end()


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
