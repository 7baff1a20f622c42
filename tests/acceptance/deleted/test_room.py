"""What is kept of deleted instances takes room on its server."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.bootstrap.fleet import operated
from broker.bootstrap.storage import checked
from broker.domain.errors import PoolExhausted
from tests.acceptance.deleted.catalog import CATALOG, TINY
from tests.integration.postgres.servers import OwnServer
from tests.support.application import KUBERNETES, running_application, settings_for
from tests.support.catalog import SERVICE
from tests.support.platform import Platform
from tests.support.postgres import embedded_postgres

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import PostgresServer


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
