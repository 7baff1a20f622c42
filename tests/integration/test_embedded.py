"""The embedded PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from tests.support.postgres import PostgresServer


async def test_the_broker_reaches_the_test_server_with_tls(postgres: PostgresServer) -> None:
    """The server of the run accepts the broker's role over TLS, as an ordinary user."""
    async with await psycopg.AsyncConnection.connect(
        postgres.broker_dsn(), sslmode="require"
    ) as connection:
        cursor = await connection.execute("SELECT current_setting('is_superuser')")
        assert await cursor.fetchone() == ("off",)
        assert connection.pgconn.ssl_in_use
