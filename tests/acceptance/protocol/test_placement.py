"""Where databases go, as far as servers have room."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.support.application import KUBERNETES, running_application, settings_for
from tests.support.platform import Platform, new_id

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import PostgresServer

CALLERS = 6


def test_the_last_place_is_taken_once(
    postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> None:
    """Of many provisions at once one gets the last place, the others 503; a deletion frees it."""
    settings = settings_for(postgres, state_dsn, tmp_path)
    limited = tuple(replace(server, max_databases=1) for server in settings.servers)
    with (
        running_application(replace(settings, servers=limited)) as broker,
        Platform(broker.url, KUBERNETES) as platform,
        ThreadPoolExecutor(CALLERS) as pool,
    ):
        ids = [new_id() for _ in range(CALLERS)]
        answers = dict(zip(ids, pool.map(platform.provision, ids), strict=True))
        codes = sorted(answer.status_code for answer in answers.values())
        assert codes == [201] + [503] * (CALLERS - 1)
        (winner,) = (found for found in ids if answers[found].status_code == 201)
        refused = next(answer for answer in answers.values() if answer.status_code == 503)
        assert "full" in refused.json()["description"]
        assert platform.deprovision(winner).status_code == 200
        assert platform.deprovision(platform.provisioned()).status_code == 200
