"""Ending other people's sessions.

Belongs here: disconnecting until nobody is left, and running a statement against the resistance of
whoever holds a lock.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker.domain.errors import TemporaryFailure
from broker.postgres import retention_statements
from broker.postgres import revocation_statements as sql
from broker.postgres.statements import run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection
    from psycopg.sql import SQL, Composed

    from broker.postgres.connections import Connections
    from broker.postgres.hold import Hold

PATIENCE = 1.0
"""Seconds to wait for a tenant's lock before the tenant is disconnected."""

END_WITHIN = 10.0
"""Seconds in which disconnected sessions have to be gone."""

FIRST_PAUSE, LONGEST_PAUSE = 0.002, 0.1
"""Seconds between two looks at sessions that are ending: short at first, doubled each time."""


async def end_sessions(hold: Hold, roles: Sequence[int]) -> None:
    """Disconnect sessions and wait until they are gone.

    Those of strangers in the database go, too: up to 14 a tenant can grant its own login to them.

    A session that is gone has given back its locks; one that was told to go may still hold them.

    Args:
        hold: The lock of a database.
        roles: Object identifiers of the roles whose sessions go.

    Raises:
        TemporaryFailure: Some are still there after ``END_WITHIN`` seconds.
    """
    await end_until_gone(hold, sql.END_SESSIONS(list(roles), hold.database))


async def end_until_gone(hold: Hold, statement: Composed) -> None:
    """Disconnect sessions, again and again, until the statement finds none any more.

    Args:
        hold: The lock of a database.
        statement: Disconnects them, and returns how many it found.

    Raises:
        TemporaryFailure: Some are still there after ``END_WITHIN`` seconds.
    """
    pause = FIRST_PAUSE
    deadline = asyncio.get_running_loop().time() + END_WITHIN
    while True:
        cursor = await run(hold.connection, statement)
        if await cursor.fetchone() == (0,):
            return
        if asyncio.get_running_loop().time() > deadline:
            raise TemporaryFailure(
                "Sessions of this binding or instance are still ending. Try again in a moment."
            )
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


async def end_everybody(hold: Hold) -> None:
    """Disconnect everybody from a database that lets nobody in, but for superusers.

    Raises:
        TemporaryFailure: Some are still there after ``END_WITHIN`` seconds.
    """
    await end_until_gone(hold, retention_statements.end_in_database(hold.database))


async def end_expired(connection: AsyncConnection) -> dict[str, int]:
    """Disconnect logins of the broker's whose ``VALID UNTIL`` has passed, by the server's clock.

    Returns:
        How many sessions each of them had; they end in a moment.
    """
    return dict(await (await run(connection, sql.END_EXPIRED)).fetchall())


async def insist(
    connections: Connections, connection: AsyncConnection, *statements: SQL | Composed
) -> None:
    """Run statements in one transaction, and disconnect tenants whose locks are in the way.

    Args:
        connections: Where the connection comes from.
        connection: The one to run them on.
        statements: What to run.

    Raises:
        psycopg.Error: The statements failed for another reason than a tenant's lock.
    """
    work = asyncio.create_task(run(connection, *statements), name="insist")
    try:
        await asyncio.wait({work}, timeout=PATIENCE)
        if not work.done():
            # Not from the pool: everybody there may be waiting like us.
            async with await connections.connect() as watcher:
                while not work.done():
                    await watcher.execute(sql.END_BLOCKERS, [connection.info.backend_pid])
                    await asyncio.wait({work}, timeout=LONGEST_PAUSE)
    finally:
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
    await work
