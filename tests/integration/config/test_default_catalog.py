"""What the default catalog promises, on a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from broker.config import load_catalog
from broker.config.environment import DEFAULT_CATALOG

if TYPE_CHECKING:
    from tests.support.postgres import PostgresServer


async def test_the_default_catalog_offers_only_trusted_extensions(postgres: PostgresServer) -> None:
    """Every extension it allows can be installed by somebody who is no superuser."""
    async with await psycopg.AsyncConnection.connect(postgres.broker_dsn()) as connection:
        cursor = await connection.execute(
            "SELECT name FROM pg_available_extension_versions WHERE trusted"
        )
        trusted = {name for (name,) in await cursor.fetchall()}
    for plan in load_catalog(DEFAULT_CATALOG).offerings[0].plans:
        assert plan.extensions.allowed
        assert set(plan.extensions.allowed) <= trusted
