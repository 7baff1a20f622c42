"""Where databases go, as far as servers have room."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from broker.store import PostgresStore
from tests.integration.store.observe import until
from tests.support.application import KUBERNETES, running_application, settings_for
from tests.support.platform import Platform, new_id

if TYPE_CHECKING:
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
