"""What is kept of deleted instances takes room on its server."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.bootstrap.fleet import operated
from broker.bootstrap.storage import checked
from broker.domain.errors import PoolExhausted
from broker.store import PostgresStore
from tests.acceptance.deleted.catalog import CATALOG, FORGETTING, TINY
from tests.acceptance.protocol.test_placement import BOTH_WAIT
from tests.integration.postgres.servers import OwnServer
from tests.integration.store.observe import until
from tests.support.application import KUBERNETES, running_application, settings_for
from tests.support.catalog import SERVICE, SMALL
from tests.support.platform import Platform, new_id
from tests.support.postgres import embedded_postgres

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from tests.support.postgres import PostgresServer

PLACE = {"platform": "kubernetes", "clusterid": "c1", "namespace": "team-a"}


async def test_a_kept_database_that_is_larger_than_promised_leaves_no_room(
    postgres: PostgresServer, state_dsn: str, tmp_path: Path, servers: Path
) -> None:
    """Bytes count as long as they are on the server, also when no instance is there any more."""
    async with embedded_postgres(servers / "own") as embedded:
        own = await OwnServer.prepare(embedded)
        settings = settings_for(postgres, state_dsn, tmp_path, catalog=CATALOG, other_dsn=own.dsn)
        _, beta = settings.servers
        limited = replace(beta, pool="default", max_storage=6 * 1024**2)
        settings = replace(
            settings, servers=(limited, replace(beta, name="elsewhere", max_storage=None))
        )
        plan = settings.catalog.find_plan(SERVICE, TINY)
        assert plan is not None
        with running_application(settings) as broker, Platform(broker.url, KUBERNETES) as platform:
            instance = platform.provisioned(TINY)
            assert platform.deprovision(instance, TINY).status_code == 200
        await checked(settings)
        async with operated(settings) as (fleet, store):
            await fleet.look()
            with pytest.raises(PoolExhausted, match="too little storage"):
                fleet.servers.place(plan, await store.servers.occupancy())


async def test_the_last_room_is_restored_into_once(
    postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> None:
    """Of two restores into a larger plan under way at once, one gets what is left."""
    settings = settings_for(postgres, state_dsn, tmp_path, catalog=CATALOG)
    # Two that are kept promise 10, and one of them 4 more once it is of the plan `forgetting`.
    limited = tuple(replace(server, max_connections=14) for server in settings.servers)
    settings = replace(settings, servers=limited)
    with running_application(settings) as broker, Platform(broker.url, KUBERNETES) as platform:
        sources = [platform.provisioned(SMALL, context=PLACE) for _ in range(2)]
        for source in sources:
            assert platform.deprovision(source, SMALL).status_code == 200
        store = PostgresStore(state_dsn, broker.keys)
        async with store.transaction() as state:
            await state.occupancy(exclusively=True)
            requests = [
                asyncio.create_task(asyncio.to_thread(restore, platform, source))
                for source in sources
            ]
            await until(state_dsn, BOTH_WAIT)
        await store.close()
        assert sorted(answer.status_code for answer in await asyncio.gather(*requests)) == [
            201,
            422,
        ]


def restore(platform: Platform, source: str) -> httpx.Response:
    """Make an instance of the larger plan from a deleted one."""
    parameters = {"restore_from_instance": source}
    return platform.provision(new_id(), FORGETTING, parameters=parameters, context=PLACE)
