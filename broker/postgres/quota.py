"""A whole database, read-only to its tenant, and writable again.

Belongs here: what happens on the server when a database is larger than its plan allows. Everything
looks first, so that it can be repeated for as long as the database is full: whatever a tenant had
prepared, or a concurrent bind brought in, is gone after the next time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import errors
from psycopg.rows import class_row
from psycopg.sql import SQL

from broker.postgres import access_statements, quota_statements
from broker.postgres import revocation_statements as revocation
from broker.postgres.databases import existing
from broker.postgres.logins import let_read
from broker.postgres.membership import join_owners
from broker.postgres.retire import reassign_in_batches
from broker.postgres.sessions import end_until_gone, insist

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from psycopg import AsyncConnection
    from psycopg.sql import Composed

    from broker.postgres.connections import Connections
    from broker.postgres.hold import Hold

BATCH = 100
"""Statements in one transaction: each object takes a place in the server's lock table."""

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class _Login:
    name: str
    oid: int
    writes: bool


async def sizes(connection: AsyncConnection) -> dict[str, int]:
    """Return the bytes that each database of the broker's occupies, by name."""
    for attempt in range(_ATTEMPTS):
        try:
            return dict(await (await connection.execute(quota_statements.SIZES)).fetchall())
        except errors.InvalidCatalogName:
            # One was dropped between being listed and being measured.
            if attempt + 1 == _ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")


async def forbid_writes(connections: Connections, hold: Hold, owner: str) -> None:
    """Take from every login of a database what it could write with.

    See the PostgreSQL manual, "Role Membership", "REVOKE", and "ALTER ROUTINE".

    Args:
        connections: To the server.
        hold: The lock of the database.
        owner: Its owner role.
    """
    await existing(hold)
    logins = await _logins(hold, owner)
    writers = [login for login in logins if login.writes]
    if writers:
        await _give(connections, hold, owner, writers, access_statements.let_read_only)
        # Sessions keep the role they have taken.
        await _end_sessions(hold)
    if await _withdraw(connections, hold, owner, [login.name for login in logins]) or writers:
        # A routine that was running goes on with what it began with; and a session that was
        # logging in just before appears only now.
        await _end_sessions(hold)


async def allow_writes(
    connections: Connections, hold: Hold, owner: str, writers: Collection[str]
) -> None:
    """Let logins write again that were made for it.

    Args:
        connections: To the server.
        hold: The lock of the database.
        owner: Its owner role.
        writers: The logins; those that are missing are passed over.
    """
    await existing(hold)
    async with connections.tenant(hold) as tenant:
        await join_owners(tenant, hold.facts.version)
        await _run_written(connections, tenant, quota_statements.UNSEALING)
    again = [
        login for login in await _logins(hold, owner) if login.name in writers and not login.writes
    ]
    if again:
        await _give(connections, hold, owner, again, access_statements.let_write)
        # What a session creates belongs to the role it has taken, and that has to be the owner.
        await _end_sessions(hold, [login.oid for login in again])


async def _logins(hold: Hold, owner: str) -> Sequence[_Login]:
    async with hold.connection.cursor(row_factory=class_row(_Login)) as cursor:
        await cursor.execute(quota_statements.LOGINS, {"database": hold.database, "owner": owner})
        return await cursor.fetchall()


async def _give(
    connections: Connections,
    hold: Hold,
    owner: str,
    logins: Sequence[_Login],
    give: Callable[..., Iterator[Composed]],
) -> None:
    await insist(
        connections,
        hold.connection,
        *(
            statement
            for login in logins
            for statement in give(login.name, database=hold.database, owner=owner)
        ),
    )


async def _end_sessions(hold: Hold, oids: Sequence[int] | None = None) -> None:
    """Disconnect tenants; those who come from now on have the rights they are to have."""
    cursor = await hold.connection.execute(
        quota_statements.SESSIONS, {"database": hold.database, "oids": oids}
    )
    pids = [pid for (pid,) in await cursor.fetchall()]
    if pids:
        await end_until_gone(hold, quota_statements.end_sessions(hold.database, pids))


async def _withdraw(
    connections: Connections, hold: Hold, owner: str, logins: Sequence[str]
) -> bool:
    """Take away, inside the database, what logins could write with beside their membership.

    Returns:
        Whether there was anything.
    """
    async with connections.tenant(hold) as tenant:
        await join_owners(tenant, hold.facts.version)
        handed_over = await _hand_over(connections, tenant, [*logins, hold.database], owner)
        sealed = await _run_written(connections, tenant, quota_statements.SEALING)
        withdrawn = await _run_written(connections, tenant, quota_statements.WITHDRAWING)
    await let_read(connections, hold, hold.database)
    return handed_over or sealed or withdrawn


async def _hand_over(
    connections: Connections, tenant: AsyncConnection, roles: Sequence[str], heir: str
) -> bool:
    """Make the owner role own what its logins and the read-only group role own themselves."""
    cursor = await tenant.execute(quota_statements.OWNERS, [list(roles)])
    owners = await cursor.fetchall()
    if not owners:
        return False
    names, oids = [name for name, _ in owners], [oid for _, oid in owners]
    cursor = await tenant.execute(revocation.REASSIGNED_SCHEMAS, {"oids": oids, "heir": heir})
    schemas = await cursor.fetchall()
    steps = tuple(revocation.reassign(names, heir, schemas))
    try:
        await insist(connections, tenant, *steps)
    except errors.OutOfMemory:
        await reassign_in_batches(connections, tenant, oids, heir=heir)
        await insist(connections, tenant, *steps)
    return True


async def _run_written(connections: Connections, tenant: AsyncConnection, writing: SQL) -> bool:
    """Run statements that a query writes; return whether there were any."""
    cursor = await tenant.execute(writing, {"mark": quota_statements.SEALED})
    written = [SQL(statement) for (statement,) in await cursor.fetchall()]
    for start in range(0, len(written), BATCH):
        await insist(connections, tenant, *written[start : start + BATCH])
    return bool(written)
