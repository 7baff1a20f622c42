"""Where databases go, as far as servers have room."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from broker.store import PostgresStore
from tests.integration.postgres.servers import OwnServer
from tests.integration.store.observe import until
from tests.support.application import KUBERNETES, running_application, settings_for
from tests.support.catalog import BIG, SMALL
from tests.support.platform import Platform, new_id
from tests.support.postgres import embedded_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.postgres import PostgresServer

BOTH_WAIT = """
    SELECT count(*) = 2 FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def test_the_last_place_is_taken_once(
    postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> None:
    """Of two provisions under way at once one gets the last place; a deletion frees it again."""
    settings = settings_for(postgres, state_dsn, tmp_path)
    limited = tuple(replace(server, max_databases=1) for server in settings.servers)
    settings = replace(settings, servers=limited)
    with running_application(settings) as broker, Platform(broker.url, KUBERNETES) as platform:
        ids = (new_id(), new_id())
        store = PostgresStore(state_dsn, broker.keys)
        # Another replica is about to place a database, so that both requests arrive meanwhile.
        async with store.transaction() as state:
            await state.occupancy(exclusively=True)
            requests = [asyncio.create_task(asyncio.to_thread(platform.provision, i)) for i in ids]
            await until(state_dsn, BOTH_WAIT)
        await store.close()
        answers = dict(zip(ids, await asyncio.gather(*requests), strict=True))
        by_status = {answer.status_code: instance for instance, answer in answers.items()}
        assert sorted(by_status) == [201, 503]
        assert "full" in answers[by_status[503]].json()["description"]
        assert platform.deprovision(by_status[201]).status_code == 200
        assert platform.deprovision(platform.provisioned()).status_code == 200


async def test_the_last_room_is_grown_into_once(
    postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> None:
    """Of two updates to a larger plan under way on two replicas, one gets what is left."""
    settings = settings_for(postgres, state_dsn, tmp_path)
    # Two of the plan `small` promise 10, and one of them 5 more once it is of the plan `big`.
    limited = tuple(replace(server, max_connections=15) for server in settings.servers)
    settings = replace(settings, servers=limited)
    with (
        running_application(settings) as one,
        running_application(settings) as other,
        Platform(one.url, KUBERNETES) as platform,
        Platform(other.url, KUBERNETES) as same_platform,
    ):
        ids = (platform.provisioned(), platform.provisioned())
        store = PostgresStore(state_dsn, one.keys)
        async with store.transaction() as state:
            await state.occupancy(exclusively=True)
            requests = [
                asyncio.create_task(asyncio.to_thread(at.update, instance, plan_id=BIG))
                for at, instance in zip((platform, same_platform), ids, strict=True)
            ]
            await until(state_dsn, BOTH_WAIT)
        await store.close()
        answers = dict(zip(ids, await asyncio.gather(*requests), strict=True))
        by_status = {answer.status_code: instance for instance, answer in answers.items()}
        assert sorted(by_status) == [200, 422]
        refused = answers[by_status[422]].json()
        assert refused["instance_usable"]
        assert refused["update_repeatable"]
        assert platform.fetch(by_status[422]).json()["plan_id"] == SMALL
        assert platform.deprovision(by_status[200], BIG).status_code == 200
        assert platform.update(by_status[422], plan_id=BIG).status_code == 200
        assert platform.deprovision(by_status[422], BIG).status_code == 200


@pytest.fixture
async def own_server(servers: Path) -> AsyncIterator[OwnServer]:
    """Return a server that the test may stop and start."""
    async with embedded_postgres(servers / "own") as embedded:
        yield await OwnServer.prepare(embedded)


def _held_by(state_dsn: str, server: str) -> set[str]:
    with psycopg.connect(state_dsn) as state:
        found = state.execute(
            "SELECT instance_id FROM pgbroker.instances WHERE server = %s", [server]
        )
        return {instance for (instance,) in found}


async def test_a_server_that_is_away_gets_nothing_new_and_keeps_nobody_waiting(
    postgres: PostgresServer, state_dsn: str, tmp_path: Path, own_server: OwnServer
) -> None:
    """New instances go elsewhere, its own are told at once, and all is well when it is back."""
    settings = settings_for(postgres, state_dsn, tmp_path, other_dsn=own_server.dsn)
    alpha, beta = (
        replace(server, pool="default", max_connections=1000) for server in settings.servers
    )
    settings = replace(settings, servers=(beta, alpha, replace(alpha, name="unused", pool="other")))
    with running_application(settings) as broker, Platform(broker.url, KUBERNETES) as platform:
        first = platform.provisioned()
        assert _held_by(state_dsn, "beta") == {first}
        await own_server.embedded.stop()
        platform.bind(first, new_id())
        made = [platform.provisioned() for _ in range(3)]
        assert _held_by(state_dsn, "alpha") == set(made)

        refused = platform.bind(first, new_id())
        assert refused.status_code == 503
        assert "does not answer at the moment" in refused.json()["description"]
        waiting = platform.bind(first, binding := new_id(), query="?accepts_incomplete=true")
        assert waiting.status_code == 202

        await own_server.embedded.start()
        assert (await platform.polled(first, binding)).json()["state"] == "succeeded"
        assert platform.bind(first, new_id()).status_code == 201
        platform.provisioned()
        assert len(_held_by(state_dsn, "beta")) == 2
        for instance in _held_by(state_dsn, "alpha") | _held_by(state_dsn, "beta"):
            assert platform.deprovision(instance).status_code == 200
