"""``kill -9`` at every boundary of an update that takes a full database to a larger plan."""

from __future__ import annotations

import asyncio
import json
import signal
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import errors

from tests.support.catalog import LIMITED, ROOMY, SERVICE, TIGHT
from tests.support.faults_failpoints import Action, Boundary
from tests.support.faults_fleet import Fleet, a_fleet
from tests.support.faults_platform import CREATED, path
from tests.support.platform import new_id
from tests.support.process import run_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from typing import LiteralString

    from tests.support.faults_platform import PatientPlatform
    from tests.support.postgres import PostgresServer

FILL: LiteralString = "CREATE TABLE t AS SELECT generate_series(1, 400000) AS a"
ONE_MORE: LiteralString = "INSERT INTO t VALUES (0)"

BOUNDARIES = [
    Boundary.RECORDING,
    Boundary.RECORDED,
    "adopt_database",
    "allow_writes",
    "change_database",
    Boundary.FINISHING,
    Boundary.FINISHED,
]


@pytest.fixture
async def limited_fleet(
    postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> AsyncIterator[Fleet]:
    """Return a fleet with a plan that is soon full."""
    catalog_file = tmp_path / "limited.yaml"
    catalog_file.write_text(LIMITED, "utf-8")
    fleet = a_fleet(postgres, state_dsn, tmp_path, CATALOG_FILE=str(catalog_file))
    try:
        await fleet.begin()
        yield fleet
    finally:
        fleet.end()


@pytest.mark.parametrize("boundary", BOUNDARIES)
async def test_a_full_database_gets_its_larger_plan(limited_fleet: Fleet, boundary: str) -> None:
    """Wherever the process dies, the same update again leads to a database that takes more rows."""
    fleet, instance = limited_fleet, new_id()
    async with fleet.platform() as platform, fleet.platform(fleet.failing) as unlucky:
        app = await _full(fleet, platform, instance)
        await fleet.arm("update", boundary, Action.KILL)
        body = {"service_id": SERVICE, "plan_id": ROOMY}
        assert await unlucky.once("PATCH", path(instance), json=body) is None
        await fleet.reached()
        assert fleet.failing.reap() == -signal.SIGKILL
        updated = await platform.update(instance, ROOMY)
        assert updated.status_code in CREATED, updated.text
        await _run(app, ONE_MORE)
        assert await _measured(fleet) == "within"
        await _run(app, ONE_MORE)
    await fleet.agrees()


async def _full(fleet: Fleet, platform: PatientPlatform, instance: str) -> str:
    """Make a database that is full; return how its application reaches it."""
    await platform.provision(instance, TIGHT)
    app: str = (await platform.bind(instance, new_id())).json()["credentials"]["uri"]
    await _run(app, FILL)
    assert await _measured(fleet) == "full"
    with pytest.raises(errors.ReadOnlySqlTransaction):
        await _run(app, ONE_MORE)
    return app


async def _measured(fleet: Fleet) -> str:
    """Measure the only database now; return how it stands to its limit."""
    done = await asyncio.to_thread(
        run_program, "storage", "check", "--json", environ=dict(fleet.environ)
    )
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    state: str = row["state"]
    return state


async def _run(uri: str, statement: LiteralString) -> None:
    async with await psycopg.AsyncConnection.connect(uri, autocommit=True) as connection:
        await connection.execute(statement)
