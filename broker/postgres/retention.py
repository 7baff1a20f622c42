"""Databases of deleted instances: aside, back, and away for good.

Belongs here: what deprovision does with a plan that keeps deleted databases, what a restore does,
and what ends the keeping. Name and tag of a database change in one transaction, so it has either
those of an instance or those of what is kept. Its group roles keep their names, and its lock is
that of the name it has as an instance's.

See the PostgreSQL manual, "ALTER DATABASE".
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg import errors

from broker.domain.errors import PermanentFailure, TemporaryFailure
from broker.postgres import retention_statements as sql
from broker.postgres import revocation_statements, statements
from broker.postgres.databases import existing, look, open_to_roles
from broker.postgres.extensions import add_extensions
from broker.postgres.retire import clean, drop_database, drop_logins, look_at_logins
from broker.postgres.sessions import end_everybody

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.domain.database import DatabaseSpec, Retention
    from broker.postgres.connections import Connections
    from broker.postgres.hold import FoundDatabase, Hold


async def retain(
    connections: Connections, hold: Hold, retention: Retention, logins: Sequence[str]
) -> bool:
    """Drop the logins, let nobody in any more, and put the database aside.

    Returns:
        ``False`` when there was nothing that could be kept.

    Raises:
        PermanentFailure: The database, or one of the roles, is not this instance's.
        TemporaryFailure: A superuser is connected to it.
    """
    if await look(hold, retention.tag, name=retention.name) is not None:
        return True
    spec = retention.database
    found = await look(hold, spec.tag)
    if found is None or found.connection_limit == statements.INVALID_DATABASE:
        # Missing, or dropped by half.
        await drop_database(connections, hold, spec, logins)
        return False
    await _check_roles(hold, spec)
    await _revoke(connections, hold, spec, found, logins)
    await statements.run(hold.connection, revocation_statements.no_connections(spec.name))
    hold.changed()
    await end_everybody(hold)
    try:
        await statements.run(hold.connection, *sql.put_aside(retention))
    except errors.ObjectInUse as exc:
        raise TemporaryFailure(
            f"The database {spec.name!r} cannot be put aside while a superuser is connected to "
            "it. Nobody else can connect any more. Repeat the deletion once that session has "
            "ended."
        ) from exc
    return True


async def restore(hold: Hold, retention: Retention) -> None:
    """Give a retained database and its roles the instance's name and tag.

    Raises:
        PermanentFailure: It is not there.
    """
    if await look(hold, retention.tag, name=retention.name) is not None:
        await statements.run(hold.connection, *sql.put_back(retention))
        hold.changed()
    await existing(hold, retention.database.tag)


async def reopen(connections: Connections, hold: Hold, spec: DatabaseSpec) -> None:
    """Open a restored database to its roles, and install what extensions it lacks."""
    await existing(hold, spec.tag)
    await open_to_roles(hold, spec)
    async with connections.tenant(hold) as tenant:
        await add_extensions(tenant, spec.extensions, hold.facts)


async def purge(connections: Connections, hold: Hold, retention: Retention) -> None:
    """Drop a retained database with its group roles.

    When the database is another's by now, nothing is left to be dropped: the record is of before a
    restore that the state has forgotten.
    """
    if await look(hold, retention.tag, name=retention.name) is None:
        tags = [role.tag for role in (await hold.look()).groups.values()]
        if tags and all(tag not in (None, retention.tag) for tag in tags):
            return
    spec = replace(retention.database, tag=retention.tag)
    await drop_database(connections, hold, spec, (), name=retention.name)


async def _revoke(
    connections: Connections,
    hold: Hold,
    spec: DatabaseSpec,
    found: FoundDatabase,
    logins: Sequence[str],
) -> None:
    """Take the logins away, and every right that other tenants' roles have in the database.

    Those could not be dropped otherwise while it is kept: nobody can get in to revoke the rights.
    """
    present = [login.name for login in await look_at_logins(hold, logins, spec.owner)]
    if not found.connectable:
        if not present and not await _strangers(hold, spec):
            return
        # Closed by an operator, and nothing can be revoked from outside.
        limit = -1 if found.recorded_limit is None else found.recorded_limit
        await statements.run(
            hold.connection,
            *map(revocation_statements.no_login, present),
            statements.connection_limit(spec.name, limit),
        )
        hold.changed()
    await drop_logins(connections, hold, present, spec.owner)
    strangers = await _strangers(hold, spec)
    if strangers:
        await clean(connections, hold, spec.name, list(strangers), list(strangers.values()))


async def _strangers(hold: Hold, spec: DatabaseSpec) -> dict[str, int]:
    cursor = await hold.connection.execute(
        sql.STRANGERS, {"database": spec.name, "own": [spec.name, spec.owner]}
    )
    return dict(await cursor.fetchall())


async def _check_roles(hold: Hold, spec: DatabaseSpec) -> None:
    for role in (await hold.look()).groups.values():
        if role.tag != spec.tag:
            raise PermanentFailure(
                f"The role {role.name!r} is not this instance's. Ask the operator of this broker "
                "to find out whose it is; nothing has been changed."
            )
