"""Looking at the state database past the store."""

from __future__ import annotations

import asyncio
from typing import Any, LiteralString

import psycopg

_PATIENCE = 20


async def query(dsn: str, statement: LiteralString, *values: object) -> list[tuple[Any, ...]]:
    """Run one statement and return its rows, if it has any."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(statement, values)
        return await cursor.fetchall() if cursor.description else []


async def until(dsn: str, condition: LiteralString) -> None:
    """Wait until a query of one boolean says true."""
    async with (
        asyncio.timeout(_PATIENCE),
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection,
    ):
        while (await (await connection.execute(condition)).fetchone()) != (True,):
            pass


SOMEBODY_WAITS = """
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'
    )
"""
"""A session of this database waits for another one's lock."""
