"""Databases and their group roles: ensure and change.

Belongs here: the steps of provision and update on the server. Each looks first, and refuses what
it finds but did not make.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import errors

from broker.domain.errors import PermanentFailure, Unprocessable
from broker.postgres import look_statements, revocation_statements, statements
from broker.postgres.extensions import add_extensions, drop_extensions
from broker.postgres.options import create_options
from broker.postgres.sessions import end_until_gone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg import AsyncConnection
    from psycopg.sql import Composed

    from broker.domain.database import DatabaseChange, DatabaseSpec
    from broker.postgres.connections import Connections
    from broker.postgres.hold import FoundDatabase, Hold

_WRONG_OPTIONS = (
    errors.InvalidParameterValue,
    errors.WrongObjectType,
    errors.UndefinedObject,
    errors.FeatureNotSupported,
    errors.InvalidObjectDefinition,
)
"""What CREATE DATABASE says to an encoding or a locale it does not have, or that do not fit."""


async def ensure_roles(hold: Hold, spec: DatabaseSpec) -> None:
    """Create both group roles with their comments, in one transaction."""
    create_options(spec.options, hold.facts)
    found = (await hold.look()).groups
    for role in found.values():
        if role.tag != spec.tag:
            raise PermanentFailure(
                f"The role {role.name!r} exists on the server and is not this instance's. Ask the "
                "operator of this broker to find out whose it is; nothing has been changed."
            )
    missing = [name for name in (spec.name, spec.owner) if name not in found]
    if missing:
        created = statements.create_groups(spec, missing, hold.facts.version)
        await hold.change(statements.NOT_DURABLE_YET, *created)


async def ensure_database(hold: Hold, spec: DatabaseSpec) -> None:
    """Create the database, closed to everybody."""
    if await look(hold, spec.tag) is not None:
        return
    options = create_options(spec.options, hold.facts)
    try:
        await hold.connection.execute(statements.create_database(spec.name, options))
    except _WRONG_OPTIONS as exc:
        raise Unprocessable(
            "This plan's server cannot create a database with "
            f"{', '.join(f'{name} = {value}' for name, value in options)}: it does not know one "
            "of them, or they do not fit together. Leave them out, or choose others."
        ) from exc
    hold.created_database(spec.limits.connections)


async def initialise_database(connections: Connections, hold: Hold, spec: DatabaseSpec) -> None:
    """Fence the database, open it to its roles, and prepare what is inside.

    One of the warm stock is so already; it lacks only the extensions asked for.
    """
    await existing(hold, spec.tag)
    if hold.whole:
        if spec.added_extensions:
            async with connections.tenant(hold) as tenant:
                await add_extensions(tenant, spec.extensions, hold.facts)
        return
    await statements.run(
        hold.connection,
        statements.NOT_DURABLE_YET,
        *statements.fence(spec),
        *limits(hold, spec),
    )
    hold.changed()
    async with connections.tenant(hold) as tenant:
        await statements.run(tenant, *statements.own_schema(spec, hold.facts.version))
        await add_extensions(tenant, spec.extensions, hold.facts)


async def open_to_roles(hold: Hold, spec: DatabaseSpec) -> None:
    """Open a database that was closed for a while, under the limits of its plan."""
    await statements.run(
        hold.connection,
        *statements.fence(spec),
        *limits(hold, spec),
        statements.record_limit(spec.owner, spec.limits.connections),
    )
    hold.changed()


async def is_changed(hold: Hold, changed: DatabaseSpec) -> bool:
    """Tell whether the database has been changed to this; nobody is changing it afterwards.

    A change writes down on the owner role what the instance has become. The session of whoever was
    changing it may still be committing, though it has lost the lock.

    Raises:
        TemporaryFailure: That session does not end.
    """
    await existing(hold, changed.tag)
    await end_until_gone(hold, revocation_statements.end_own(hold.database))
    cursor = await hold.connection.execute(look_statements.COMMENT_ON_ROLE, [changed.owner])
    return await cursor.fetchone() == (changed.owner_comment,)


async def change_database(
    connections: Connections,
    hold: Hold,
    change: DatabaseChange,
    *,
    before_commit: Callable[[], None],
) -> None:
    """Apply an update in one transaction on the tenant's database.

    Args:
        connections: To the server.
        hold: The lock of the database.
        change: What to change.
        before_commit: Called when all has been done and COMMIT is about to be sent.
    """
    spec = change.database
    await existing(hold, spec.tag)
    logins = await hold.roles(change.logins)  # some may have been unbound in the meantime
    async with connections.tenant(hold) as tenant, tenant.transaction():
        await drop_extensions(tenant, change.drop_extensions)
        await add_extensions(tenant, change.add_extensions, hold.facts)
        await statements.run(
            tenant,
            *limits(hold, spec),
            statements.record_limit(spec.owner, spec.limits.connections),
            statements.comment_on_role(spec.owner, spec.owner_comment),
            *(
                statements.login_limit(login, spec.limits.connections_per_binding)
                for login in logins
            ),
        )
        before_commit()
    hold.changed()


async def existing(hold: Hold, tag: str | None = None) -> None:
    """Make sure that the database is there and ours, with the connection limit it should have.

    Raises:
        PermanentFailure: It is not.
    """
    found = await look(hold, tag)
    if found is None or found.connection_limit == statements.INVALID_DATABASE:
        raise PermanentFailure(
            f"The database {hold.database!r} does not exist on its server any more. Ask the "
            "operator of this broker to restore it from a backup; it is never re-created empty.",
            instance_usable=False,
            update_repeatable=False,
        )
    await settle_limit(hold, found)


async def settle_limit(hold: Hold, found: FoundDatabase) -> None:
    """Put a connection limit back that somebody lifted to get in, and died."""
    limit = found.recorded_limit
    if found.connection_limit == statements.INVALID_DATABASE:
        return  # nothing can be changed about it but that it is there
    if found.connectable and limit is not None and limit != found.connection_limit:
        await hold.connection.execute(statements.connection_limit(hold.database, limit))
        hold.changed()


async def look(
    hold: Hold, tag: str | None = None, *, name: str | None = None
) -> FoundDatabase | None:
    """Return what the catalogs say of the database, ``None`` when there is none.

    Args:
        hold: The lock of the database.
        tag: What its comment must be, if it has one; ``None`` accepts any.
        name: What it is called, if not by the name that it is locked by.

    Raises:
        PermanentFailure: The database is not ours.
    """
    found = await hold.look_at(name) if name else (await hold.look()).database
    if found is not None and not (found.ours and (None in (tag, found.tag) or found.tag == tag)):
        raise PermanentFailure(
            f"The database {name or hold.database!r} exists on the server and is not this "
            "instance's. Ask the operator of this broker to find out whose it is; nothing has been "
            "changed.",
            instance_usable=False,
            update_repeatable=False,
        )
    return found


def limits(hold: Hold, spec: DatabaseSpec) -> Iterator[Composed]:
    """Set a plan's limits on a database, which opens it."""
    yield from statements.settings(
        spec.name, spec.limits, temp_file_limit=hold.facts.can_set_temp_file_limit
    )
    yield statements.connection_limit(spec.name, spec.limits.connections)


async def size(connection: AsyncConnection, database: str) -> int:
    """Return the bytes a database occupies."""
    row = await (await connection.execute(look_statements.SIZE, [database])).fetchone()
    if row is None:
        raise AssertionError("a SELECT without FROM returns one row")
    measured: int = row[0]
    return measured
