"""The server, once: make it fit to hold tenants.

Belongs here: what a superuser does before the broker's first start. What the broker finds out by
itself later is in ``check.py``.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import class_row
from psycopg.sql import SQL

from broker.domain.credentials import scram_sha_256_verifier
from broker.domain.errors import InvalidRequest, PermanentFailure, ServerUnavailable
from broker.postgres import look_statements, server_statements, statements
from broker.postgres.check import Finding, check
from broker.postgres.connections import MAINTENANCE_STATEMENT_TIMEOUT, connect_once
from broker.postgres.errors import is_lost

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from psycopg import AsyncConnection
    from psycopg.sql import Composed

__all__ = ["Finding", "Prepared", "check", "prepare", "prepare_for"]

_EVERYBODYS = ("postgres", "template0", "template1")
"""Databases that others connect to, or that new ones are made from."""

_STARTED = SQL("SELECT pg_catalog.pg_postmaster_start_time()")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was there before a server was prepared.

    Attributes:
        role: The broker's own role.
        role_existed: It existed, maybe with another password.
    """

    role: str
    role_existed: bool


@dataclass(frozen=True, slots=True)
class _Existing:
    role_exists: bool
    role_is_superuser: bool
    role_is_ours: bool
    database_exists: bool
    open_databases: list[str]


async def prepare(
    superuser_dsn: str, *, role: str, password: str, maintenance_database: str
) -> Prepared:
    """Make a server fit for tenants; running it again changes nothing but the password.

    Args:
        superuser_dsn: libpq connection string of a superuser, to any database of the server.
        role: The broker's own role, created if it is missing.
        password: Its password, ASCII. Only a SCRAM verifier of it reaches the server.
        maintenance_database: The broker's private database, created if it is missing.

    Returns:
        What was there before.

    Raises:
        InvalidRequest: ``role`` names a superuser, which the broker must not be, or the one that
            ``superuser_dsn`` names; or the database is one that everybody uses.
        ServerUnavailable: There is no connection to be had with ``superuser_dsn``.
        PermanentFailure: The server refused; the message has its own words, for the superuser.

    See the PostgreSQL manual, "Role Attributes", "Template Databases" and "GRANT".
    """
    if maintenance_database in _EVERYBODYS:
        raise InvalidRequest(
            f"The broker needs a database of its own, not {maintenance_database!r}, which others "
            "connect to. Put another name into its connection string, for example .../pgbroker; "
            "it is made if it is not there. Nothing has been changed."
        )
    verifier = scram_sha_256_verifier(password, salt=secrets.token_bytes(16))
    try:
        return await _prepare(superuser_dsn, role, verifier, maintenance_database)
    except psycopg.Error as exc:
        if is_lost(exc):
            raise ServerUnavailable(
                "The PostgreSQL server cannot be reached as its superuser. Check that it runs, and "
                "the connection string."
            ) from exc
        raise PermanentFailure(
            f"The PostgreSQL server could not be prepared: {exc.diag.message_primary} "
            f"(SQLSTATE {exc.sqlstate}). Prepare it as a superuser; running it again is safe."
        ) from exc


async def prepare_for(admin_dsn: str, *, superuser_dsn: str) -> Prepared:
    """Make a server fit for the role, password and database of the broker's own connection string.

    Args:
        admin_dsn: How the broker will connect: libpq connection string.
        superuser_dsn: libpq connection string of a superuser of the same server.

    Returns:
        What was there before.

    Raises:
        InvalidRequest: ``admin_dsn`` leaves out what has to be made, names what cannot be the
            broker's own, or leads to another server than ``superuser_dsn``.
        ServerUnavailable: There is no connection to be had with ``superuser_dsn``.
        PermanentFailure: The server refused, or the broker cannot connect even now.
    """
    ours = conninfo_to_dict(admin_dsn)
    missing = [name for name in ("user", "password", "dbname") if not ours.get(name)]
    if missing:
        raise InvalidRequest(
            f"The admin DSN has no {', '.join(missing)}; put the role, the password and the "
            "database that shall be made for the broker into it."
        )
    role, database = str(ours["user"]), str(ours["dbname"])
    with suppress(psycopg.OperationalError):  # Of course, if it has not been prepared yet.
        if await _started(admin_dsn) != await _started(superuser_dsn):
            raise InvalidRequest(
                "The superuser's connection string leads to another server than the broker's. "
                "Nothing has been changed."
            )
    prepared = await prepare(
        superuser_dsn,
        role=role,
        password=str(ours["password"]),
        maintenance_database=database,
    )
    made = f"the role {role!r} and the database {database!r}"
    try:
        same = await _started(admin_dsn) == await _started(superuser_dsn)
    except psycopg.OperationalError as exc:
        raise PermanentFailure(
            f"On the server of the superuser, {made} are ready, but the broker's own connection "
            "string does not lead in. Check that it is the same server, and that server's "
            "pg_hba.conf; then prepare it again."
        ) from exc
    if not same:
        raise InvalidRequest(
            "The superuser's connection string leads to another server than the broker's. There, "
            f"{made} have been made and defaults of PUBLIC closed: drop both if you do not want "
            "them, and prepare the server again with its own superuser."
        )
    return prepared


async def _started(dsn: str) -> datetime:
    """Return when a server was started: to the microsecond, so it tells servers apart."""
    async with await connect_once(dsn) as connection:
        row = await (await connection.execute(_STARTED)).fetchone()
    if row is None:
        raise AssertionError("a SELECT without FROM returns one row")
    started: datetime = row[0]
    return started


async def _prepare(
    superuser_dsn: str, role: str, verifier: str, maintenance_database: str
) -> Prepared:
    async with await connect_once(
        superuser_dsn, statement_timeout=MAINTENANCE_STATEMENT_TIMEOUT
    ) as connection:
        await connection.execute(look_statements.lock(""))
        await _run_permitted(connection, server_statements.QUIET_SESSION)
        version = connection.info.server_version // 10_000
        async with connection.cursor(row_factory=class_row(_Existing)) as cursor:
            await cursor.execute(
                server_statements.EXISTING, {"role": role, "database": maintenance_database}
            )
            existing = await cursor.fetchone()
        if existing is None or existing.role_is_superuser:
            raise InvalidRequest(
                f"The role {role!r} is a superuser. Choose a role of the broker's own: it must "
                "not be one, because tenants would then be one mistake away from the server."
            )
        if existing.role_is_ours:
            raise InvalidRequest(
                f"The superuser's connection string is that of the role {role!r}, which is the "
                "broker's own. Give one of a superuser. Nothing has been changed."
            )
        await statements.run(
            connection,
            *server_statements.broker_role(
                role, verifier, exists=existing.role_exists, version=version
            ),
            *(server_statements.close_to_public(name) for name in existing.open_databases),
        )
        await _run_permitted(connection, server_statements.optional_rights(role, version))
        modernise = version < statements.PUBLIC_SCHEMA_OWNED_BY_DATABASE_OWNER
        if modernise:
            await _modernise_template(connection, superuser_dsn)
        if not existing.database_exists:
            await connection.execute(server_statements.create_database(maintenance_database, role))
            await connection.execute(server_statements.close_to_public(maintenance_database))
    if modernise:
        async with await connect_once(superuser_dsn, dbname=maintenance_database) as connection:
            await statements.run(connection, *server_statements.MODERN_PUBLIC_SCHEMA)
    return Prepared(role, existing.role_exists)


async def _run_permitted(connection: AsyncConnection, optional: Iterable[SQL | Composed]) -> None:
    """Run statements that the administrator of a managed service may not be allowed to.

    The check tells what could not be had.
    """
    for statement in optional:
        with suppress(errors.InsufficientPrivilege):
            await connection.execute(statement)


async def _modernise_template(connection: AsyncConnection, superuser_dsn: str) -> None:
    """Give ``template0`` of PostgreSQL 14 the schema ``public`` of PostgreSQL 15.

    Only a superuser could do it later, database by database: up to 14, ``public`` belongs to the
    superuser and everybody may create in it, so a read-only binding could write.
    """
    await connection.execute(server_statements.allow_connections("template0", allow=True))
    try:
        async with await connect_once(superuser_dsn, dbname="template0") as template:
            await statements.run(template, *server_statements.MODERN_PUBLIC_SCHEMA)
    finally:
        await connection.execute(server_statements.allow_connections("template0", allow=False))
