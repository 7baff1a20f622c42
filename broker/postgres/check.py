"""The check of a server: what an operator should know before tenants move in.

Belongs here: what the broker finds out as its own, unprivileged role, and the words for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import psycopg
from psycopg.rows import class_row

from broker.domain.errors import ServerUnavailable
from broker.postgres import server_statements, statements
from broker.postgres.connections import connect_once

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.postgres.admin_login import AdminLogin

OLDEST, NEWEST = 14, 18
"""The major versions the broker is tested on."""

SLOW_AUTHENTICATION = 30
"""Seconds of ``authentication_timeout`` from which half-open connections become a lever."""

TLS = "ssl"
"""The subject of what is found about it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing about a server that an operator should know.

    Attributes:
        subject: What it is about: a parameter, a role, a database.
        severity: ``error`` when tenants are not fenced or the broker cannot work.
        message: What is missing.
        remedy: What to do about it.
    """

    subject: str
    severity: Literal["error", "warning"]
    message: str
    remedy: str


async def check(dsn: str, *, login: AdminLogin | None = None) -> list[Finding]:
    """Look at a server with the eyes of the broker's own role and say what is missing.

    Args:
        dsn: libpq connection string of the broker's role, to its maintenance database.
        login: Whose connection string it is, if its password may have changed.

    Returns:
        Errors first. An empty list means that there is nothing to do.

    Raises:
        ServerUnavailable: There is no connection to be had with this connection string.
    """
    try:
        async with (
            await connect_once(dsn, login=login) as connection,
            connection.cursor(row_factory=class_row(_Server)) as cursor,
        ):
            version = connection.info.server_version // 10_000
            await cursor.execute(server_statements.findings(version))
            server = await cursor.fetchone()
    except psycopg.OperationalError as exc:
        raise ServerUnavailable(
            "The PostgreSQL server cannot be reached with the broker's role. Check that it runs, "
            "that host and port are right, and that its role and password are those that the "
            "server was prepared with."
        ) from exc
    if server is None:
        raise AssertionError("a SELECT without FROM returns one row")
    findings = [*_role_findings(server, version), *_server_findings(server, version)]
    return sorted(findings, key=lambda finding: finding.severity)


@dataclass(frozen=True, slots=True)
class _Server:
    role: str
    is_superuser: bool
    can_create_database: bool
    can_create_role: bool
    can_signal: bool
    can_set_temp_file_limit: bool
    has_reserve: bool
    open_databases: list[str]
    public_schema_writable: bool
    max_prepared_transactions: int
    data_checksums: bool
    ssl: bool
    log_statement: str
    authentication_timeout: int


def _role_findings(server: _Server, version: int) -> Iterator[Finding]:
    role, again = server.role, "Run `pgbroker servers prepare` as a superuser."
    if server.is_superuser:
        yield Finding(
            role,
            "warning",
            f"The broker's role {role!r} is a superuser: it may do far more than it needs.",
            f"{again} Give it another role name, and put that role into the server's DSN.",
        )
        return
    if not server.can_create_database:
        yield Finding(role, "error", f"The role {role!r} lacks CREATEDB.", again)
    if not server.can_create_role:
        yield Finding(role, "error", f"The role {role!r} lacks CREATEROLE.", again)
    elif version < statements.CREATEROLE_CONFINED:
        yield Finding(
            role,
            "warning",
            f"On PostgreSQL {version}, CREATEROLE is close to superuser: the role {role!r} can "
            "grant itself pg_execute_server_program.",
            "Guard the broker's DSN like the superuser's password, or upgrade to 16 or newer.",
        )
    if not server.can_signal:
        yield Finding(
            role,
            "error",
            f"The role {role!r} is not a member of pg_signal_backend: it cannot end the sessions "
            "of a revoked binding.",
            again,
        )
    if not server.can_set_temp_file_limit:
        yield Finding(
            "temp_file_limit",
            "warning",
            "The broker may not set temp_file_limit: plans' limits on temporary files are not "
            "enforced on this server.",
            again
            if version >= statements.PARAMETER_PRIVILEGES
            else "Set temp_file_limit in postgresql.conf, or upgrade to 15 or newer.",
        )


def _server_findings(server: _Server, version: int) -> Iterator[Finding]:
    if not OLDEST <= version <= NEWEST:
        yield Finding(
            "version",
            "warning" if version > NEWEST else "error",
            f"The server runs PostgreSQL {version}; the broker supports {OLDEST} to {NEWEST}.",
            "Use a server of a supported version.",
        )
    for database in server.open_databases:
        yield Finding(
            database,
            "error",
            f"Every role may connect to the database {database!r}, so every tenant may.",
            f'As its owner: REVOKE ALL ON DATABASE "{database}" FROM PUBLIC',
        )
    if server.public_schema_writable:
        yield Finding(
            "template0",
            "error",
            "Everybody may create objects in the schema public of new databases, as up to "
            "PostgreSQL 14: read-only bindings could write.",
            "Run `pgbroker servers prepare` as a superuser.",
        )
    if server.max_prepared_transactions:
        yield Finding(
            "max_prepared_transactions",
            "error",
            "Prepared transactions are enabled: one of a tenant's blocks unbind and deprovision.",
            "Set max_prepared_transactions = 0 in postgresql.conf and restart the server.",
        )
    if not server.has_reserve:
        yield Finding(
            "reserved_connections",
            "warning",
            "No connections are set aside for the broker: tenants can take every slot of the "
            "server, and nothing can be bound or unbound until one of them lets go.",
            "Set reserved_connections = 5 in postgresql.conf, restart the server, and run "
            "`pgbroker servers prepare` as a superuser.",
        )
    if not server.data_checksums:
        yield Finding(
            "data_checksums",
            "warning",
            "Data checksums are off: corruption of data files goes unnoticed, and requests for "
            "--data-checksums are refused.",
            "Stop the server, run `pg_checksums --enable` on its data directory, start it.",
        )
    if not server.ssl:
        yield Finding(
            TLS,
            "warning",
            "TLS is off: data travels in clear text.",
            "Give the server a certificate and set ssl = on.",
        )
    if server.log_statement != "none":
        yield Finding(
            "log_statement",
            "warning",
            "The server logs the broker's statements, which carry the SCRAM verifiers of logins.",
            f"As a superuser: ALTER ROLE \"{server.role}\" SET log_statement = 'none'",
        )
    if server.authentication_timeout > SLOW_AUTHENTICATION:
        yield Finding(
            "authentication_timeout",
            "warning",
            f"authentication_timeout is {server.authentication_timeout} s: half-open connections "
            "hold the server's connection slots for that long.",
            "Set authentication_timeout = 10s in postgresql.conf and reload.",
        )
