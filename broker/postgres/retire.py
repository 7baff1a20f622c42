"""Taking roles away, whatever their tenants have done with them.

Belongs here: unbind, deprovision, and what they share: handing over what a role owns, in every
database that knows it, until nothing keeps the role from being dropped.

See the PostgreSQL manual, "Dropping Roles".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from psycopg import errors
from psycopg.sql import SQL

from broker.domain.errors import PermanentFailure, TemporaryFailure
from broker.domain.names import owner_name
from broker.postgres import look_statements, statements
from broker.postgres import revocation_statements as sql
from broker.postgres.databases import look, settle_limit
from broker.postgres.membership import join_owners
from broker.postgres.sessions import end_sessions, insist

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection

    from broker.domain.database import DatabaseSpec
    from broker.postgres.connections import Connections
    from broker.postgres.hold import Hold

log = structlog.get_logger()

BATCH = 100
"""Relations handed over in one transaction when all at once are too many."""

ROUNDS = 5
"""How often to clean up after roles that tenants keep granting things to."""


@dataclass(frozen=True, slots=True)
class FoundLogin:
    """A login role as the catalogs have it.

    Attributes:
        name: Its name.
        oid: Its object identifier.
        foreign_role: Whether it is no login of the database.
    """

    name: str
    oid: int
    foreign_role: bool


async def drop_login(connections: Connections, hold: Hold, name: str, owner: str) -> None:
    """Revoke a login: no new sessions, end the present ones, hand over, drop.

    Raises:
        PermanentFailure: The role is not a login of this database.
    """
    await drop_logins(connections, hold, [name], owner)


async def drop_logins(
    connections: Connections, hold: Hold, names: Sequence[str], owner: str
) -> None:
    """Revoke logins like ``drop_login``, all at once."""
    found = await look(hold)
    if found is not None:
        await settle_limit(hold, found)
    logins = await look_at_logins(hold, names, owner)
    present, oids = [login.name for login in logins], [login.oid for login in logins]
    if logins:
        # Their sessions outlive NOLOGIN, but no new ones come after it.
        await insist(connections, hold.connection, *map(sql.no_login, present))
        await end_sessions(hold, oids)
        await _retire(connections, hold, present, oids)
    # A session that was logging in just before NOLOGIN appears only now.
    await end_sessions(hold, oids)


async def drop_database(
    connections: Connections,
    hold: Hold,
    spec: DatabaseSpec,
    logins: Sequence[str],
    *,
    name: str | None = None,
) -> None:
    """Drop the database, whoever is connected, then its roles.

    Args:
        connections: To the server.
        hold: The lock of the database.
        spec: The database; a group role has the same name.
        logins: Its login roles.
        name: What the database is called, if not as it is locked.

    Raises:
        PermanentFailure: The database, or one of the roles, is not this instance's.
        TemporaryFailure: A superuser is connected to it.
    """
    found = await look(hold, spec.tag, name=name)
    groups = (await hold.look()).groups
    for role in groups.values():
        if role.tag not in (None, spec.tag):
            raise PermanentFailure(
                f"The role {role.name!r} is not this instance's. Ask the operator of this broker "
                "to find out whose it is; nothing has been changed."
            )
    leaving = await look_at_logins(hold, logins, spec.owner) if logins else ()
    hold.changed()
    if found is not None:
        if found.connection_limit != statements.INVALID_DATABASE:
            closing = sql.no_connections(name or spec.name)
            await statements.run(hold.connection, statements.NOT_DURABLE_YET, closing)
        try:
            await hold.connection.execute(sql.drop_database(name or spec.name))
        except errors.InsufficientPrivilege as exc:
            # The database is ours to drop, but a superuser's session is not ours to end.
            raise TemporaryFailure(
                f"The database {name or spec.name!r} cannot be dropped while a superuser is "
                "connected to it. Nobody else can connect any more. Repeat the deletion once that "
                "session has ended."
            ) from exc
    oids = [*(login.oid for login in leaving), *(role.oid for role in groups.values())]
    if oids:
        await _retire(connections, hold, [*logins, spec.owner, spec.name], oids)
    if leaving:
        await end_sessions(hold, [login.oid for login in leaving])


async def _retire(
    connections: Connections, hold: Hold, roles: Sequence[str], oids: Sequence[int]
) -> None:
    """Drop roles, having taken from them what keeps PostgreSQL from it, if anything does."""
    for _ in range(ROUNDS):
        try:
            await insist(connections, hold.connection, sql.drop_roles(roles))
        except errors.DependentObjectsStillExist:
            cursor = await statements.run(hold.connection, sql.DEPENDENT_DATABASES(list(oids)))
            for (database,) in await cursor.fetchall():
                if database != hold.database:
                    await hold.lock_too(database)
                await clean(connections, hold, database, roles, oids)
        else:
            return
    try:
        await insist(connections, hold.connection, sql.drop_roles(roles))
    except errors.DependentObjectsStillExist as exc:
        log.warning("role not dropped", database=hold.database, detail=exc.diag.message_detail)
        raise PermanentFailure(
            f"A role of the database {hold.database!r} cannot be dropped: it was given rights that "
            "the broker cannot take away. No login can use it any more. Ask the operator of this "
            "broker; its log says on what."
        ) from exc


async def clean(
    connections: Connections,
    hold: Hold,
    database: str,
    roles: Sequence[str],
    oids: Sequence[int],
) -> None:
    """Hand what roles own in one database to its owner role, and take their rights there."""
    async with connections.tenant(hold, database) as tenant:
        await join_owners(tenant, hold.facts.version, oids)
        heir = owner_name(database)
        present = await hold.roles([*roles, heir])
        leaving = [role for role in roles if role in present]
        steps = [sql.drop_owned(leaving)]
        if heir in present and heir not in leaving:
            cursor = await tenant.execute(
                sql.REASSIGNED_SCHEMAS, {"oids": list(oids), "heir": heir}
            )
            steps = [*sql.reassign(leaving, heir, await cursor.fetchall()), *steps]
        try:
            await insist(connections, tenant, *steps)
        except errors.OutOfMemory:
            if heir in leaving or heir not in present:
                raise
            await reassign_in_batches(connections, tenant, oids, heir=heir)
            await insist(connections, tenant, *steps)


async def reassign_in_batches(
    connections: Connections, tenant: AsyncConnection, oids: Sequence[int], *, heir: str
) -> None:
    """Hand over more relations than the server's lock table has room for in one transaction.

    A tenant can own as many as it likes, and REASSIGN OWNED locks each of them.
    """
    while True:
        cursor = await tenant.execute(
            sql.OWNED_RELATIONS, {"oids": list(oids), "heir": heir, "limit": BATCH}
        )
        batch = [statement for (statement,) in await cursor.fetchall()]
        if not batch:
            return
        await insist(connections, tenant, *map(SQL, batch))


async def look_at_logins(hold: Hold, names: Sequence[str], owner: str) -> Sequence[FoundLogin]:
    """Return those of the login roles that exist.

    Raises:
        PermanentFailure: One of them is no login of this database.
    """
    cursor = await statements.run(
        hold.connection, look_statements.LOGINS(list(names), hold.database, owner)
    )
    logins = [FoundLogin(*row) for row in await cursor.fetchall()]
    for login in logins:
        if login.foreign_role:
            raise PermanentFailure(
                f"The role {login.name!r} is not a login of the database {hold.database!r}. Ask "
                "the operator of this broker to find out whose it is; nothing has been changed."
            )
    return logins
