"""A state and a server to reconcile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from psycopg import AsyncConnection

from tests.integration.postgres.replica import a_replica
from tests.integration.reconcile.world import World
from tests.support.state import migrated_template, state_dsn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.postgres import PostgresServer

__all__ = ["migrated_template", "state_dsn"]


@pytest.fixture
async def world(postgres: PostgresServer, state_dsn: str) -> AsyncIterator[World]:
    """Return a replica on the run's server; what was made there is gone after the test."""
    async with (
        a_replica(postgres, state_dsn) as replica,
        await AsyncConnection.connect(
            postgres.superuser_dsn("pgbroker"), autocommit=True
        ) as superuser,
    ):
        world = World(postgres, replica, superuser)
        yield world
        await world.close()
