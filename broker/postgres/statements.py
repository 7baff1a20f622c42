"""Every statement the engine runs.

Belongs here: SQL text, each statement with one line on its purpose, and the functions that put
names and values into it, only ever through ``psycopg.sql``.

Functions and catalogs are qualified everywhere, although sessions pin ``search_path``: an
unqualified name resolved in a tenant's schema would run the tenant's code with the broker's rights.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from psycopg.sql import SQL, Composed

if TYPE_CHECKING:
    from psycopg import AsyncConnection, AsyncCursor
    from psycopg.rows import TupleRow

PARAMETER_PRIVILEGES = 15
"""The first version with ``GRANT SET ON PARAMETER``."""

PUBLIC_SCHEMA_OWNED_BY_DATABASE_OWNER = 15
"""The first version whose schema ``public`` belongs to the database's owner."""

CREATEROLE_CONFINED = 16
"""The first version in which ``CREATEROLE`` reaches only roles it was given ``ADMIN`` on."""

SESSION_OPTIONS = (
    "-c search_path=pg_catalog,pg_temp -c default_transaction_read_only=off "
    "-c lock_timeout=5s -c statement_timeout=60s"
)
"""What every session of the broker starts with, whatever roles and databases are set to."""

LOCK = SQL("SELECT pg_catalog.pg_advisory_lock(%s)")
"""Keep every other session of the broker away from one database, until unlocked or gone."""


def lock_key(name: str) -> int:
    """Return the advisory lock's key for a database name: a signed 64-bit hash."""
    digest = hashlib.sha256(f"pgbroker:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


async def run(connection: AsyncConnection, *statements: Composed | SQL) -> AsyncCursor[TupleRow]:
    """Run statements as one message: one round trip and one implicit transaction.

    See the PostgreSQL manual, "Multiple Statements in a Simple Query".
    """
    return await connection.execute(SQL("; ").join(statements))
