"""A server that is a standby: nothing that is looked at there is true, so nothing is done there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from broker.domain.errors import ServerUnavailable
from broker.postgres.engine import PostgresEngine
from tests.integration.postgres.stepwise import confirmed
from tests.integration.postgres.tenants import database_spec
from tests.support.faults_standby import state_pair

if TYPE_CHECKING:
    from pathlib import Path

    from broker.embedded import EmbeddedPostgres
    from broker.service.ports import DatabaseSession
    from tests.support.faults_standby import StatePair


def only(pair: StatePair, server: EmbeddedPostgres) -> str:
    """Return a DSN of one of the two, that says nothing about which kind of server it wants."""
    parts = {name: str(value) for name, value in conninfo_to_dict(pair.dsn).items()}
    del parts["target_session_attrs"]
    return make_conninfo(**{**parts, "host": server.host, "port": str(server.port)})


async def test_a_standby_is_not_the_server(servers: Path) -> None:
    """A database that it has not got yet is not taken for one that is deleted already."""
    spec = database_spec()
    async with state_pair(servers) as pair:
        primary = PostgresEngine("alpha", only(pair, pair.primary))
        standby = PostgresEngine("alpha", only(pair, pair.standby))
        try:
            await primary.open()
            await standby.open()
            async with await AsyncConnection.connect(
                pair.standby.superuser_dsn(), autocommit=True
            ) as superuser:
                await superuser.execute("SELECT pg_wal_replay_pause()")

            async def make(database: DatabaseSession) -> None:
                await database.ensure_roles(spec)
                await database.ensure_database(spec)

            await primary.exclusively(spec.name, make, confirm=confirmed)
            with pytest.raises(ServerUnavailable):
                await standby.vitals()
            with pytest.raises(ServerUnavailable):
                await standby.exclusively(
                    spec.name, lambda database: database.drop_database(spec, ()), confirm=confirmed
                )
        finally:
            await primary.close()
            await standby.close()
