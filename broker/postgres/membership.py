"""Membership of the broker's role in the roles it made, so that it may act for them.

Belongs here: joining those roles, never an operator's, before there is work in a database.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.postgres import revocation_statements, statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection


async def join_owners(tenant: AsyncConnection, version: int, oids: Sequence[int] = ()) -> None:
    """Join the broker's roles that own something in a database, and those named.

    See the PostgreSQL manual, "Role Membership", and "Role Attributes" for what 16 changed.

    Args:
        tenant: To the database.
        version: The server's major version.
        oids: Object identifiers of the roles to be dropped, known to be the broker's.
    """
    cursor = await tenant.execute(
        revocation_statements.UNJOINED_ROLES,
        {"oids": list(oids), "confined": version >= statements.CREATEROLE_CONFINED},
    )
    names = [name for (name,) in await cursor.fetchall()]
    if names:
        await statements.run(tenant, statements.join_roles(names, version))
