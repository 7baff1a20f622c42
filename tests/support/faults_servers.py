"""PostgreSQL servers that a test may stop, kill and fill."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import AsyncConnection

from broker.postgres.prepare import prepare
from tests.integration.postgres.servers import PASSWORD
from tests.support.postgres import BROKER_ROLE, PostgresServer, embedded_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from broker.embedded import EmbeddedPostgres

# A server that is killed shall have what it acknowledged.
DURABLE = {"synchronous_commit": "on"}


@dataclass(frozen=True, slots=True)
class OwnServer:
    """A server of a test's own.

    Attributes:
        embedded: To stop it and start it again.
        postgres: To use it.
    """

    embedded: EmbeddedPostgres
    postgres: PostgresServer

    async def superuser(self) -> AsyncConnection:
        """Open a session of the superuser."""
        return await AsyncConnection.connect(self.postgres.superuser_dsn(), autocommit=True)


@asynccontextmanager
async def own_server(directory: Path, **settings: str) -> AsyncIterator[OwnServer]:
    """Run a prepared server until the context is left.

    Args:
        directory: Its data directory, in a ``server_directory``.
        settings: For ``postgresql.conf``.
    """
    async with embedded_postgres(directory, **(DURABLE | settings)) as embedded:
        await prepare(
            embedded.superuser_dsn(),
            role=BROKER_ROLE,
            password=PASSWORD,
            maintenance_database=BROKER_ROLE,
        )
        yield OwnServer(
            embedded,
            PostgresServer(
                host=embedded.host,
                port=embedded.port,
                version=embedded.version,
                data_directory=embedded.data_directory,
                bin_directory=embedded.bin_directory,
                ca_certificate=embedded.ca_certificate,
                _superuser_dsn=embedded.superuser_dsn(),
                _broker_password=PASSWORD,
            ),
        )
