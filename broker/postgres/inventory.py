"""Listing what a server holds of the broker's.

Belongs here: a quick look at all of it, without a lock. What is being worked on looks like anything
at that moment: whoever wants to act on what was listed looks again, under the lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.rows import class_row

from broker.domain.inventory import Inventory, ListedDatabase, ListedRole
from broker.postgres import inventory_statements as sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection


async def take_inventory(
    connection: AsyncConnection,
    *,
    database: str | None = None,
    roles: Sequence[str] | None = None,
) -> Inventory:
    """List the databases of the broker's role, and the roles with a comment like the broker's.

    Args:
        connection: To the maintenance database.
        database: Only this one.
        roles: Only these.
    """
    only = {"database": database, "roles": None if roles is None else list(roles)}
    async with connection.cursor(row_factory=class_row(ListedDatabase)) as listed:
        await listed.execute(sql.LISTED_DATABASES, only)
        databases = {found.name: found for found in await listed.fetchall()}
    async with connection.cursor() as cursor:
        await cursor.execute(sql.LISTED_ROLES, only)
        found_roles = {
            name: ListedRole(name, comment, can_login, tuple(groups))
            for name, comment, can_login, groups in await cursor.fetchall()
        }
    return Inventory(databases, found_roles)
