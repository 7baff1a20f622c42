"""What a tenant's credentials can do, and what is there of a tenant at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.support.postgres import PostgresServer

_REFUSALS = (
    "password authentication failed",
    # Where the server admits members of a database's group role only, and the role is gone.
    "pg_hba.conf rejects connection",
)


def log_in(secret: Mapping[str, str], directory: Path) -> psycopg.Connection[Any]:
    """Connect with exactly what a Secret of the platform holds.

    Args:
        secret: Its decoded data.
        directory: For the authority's certificate, which libpq wants in a file.
    """
    conninfo = secret["uri"]
    if "ca_certificate" in secret:
        file = directory / "ca.crt"
        file.write_text(secret["ca_certificate"], "utf-8")
        conninfo = make_conninfo(conninfo, sslrootcert=str(file))
    return psycopg.connect(conninfo, connect_timeout=10, autocommit=True)


def is_refused(secret: Mapping[str, str], directory: Path) -> bool:
    """Tell whether a Secret's login is refused for who it is."""
    try:
        log_in(secret, directory).close()
    except psycopg.OperationalError as error:
        return any(reason in str(error) for reason in _REFUSALS)
    return False


def ask(postgres: PostgresServer, query: LiteralString, *values: object) -> list[Any]:
    """Return the first column of what the superuser is answered."""
    with psycopg.connect(postgres.superuser_dsn(), autocommit=True) as connection:
        return [row[0] for row in connection.execute(sql.SQL(query), values)]


def databases(postgres: PostgresServer) -> set[str]:
    """Return the names of all databases."""
    return set(ask(postgres, "SELECT datname FROM pg_database"))


def roles(postgres: PostgresServer) -> set[str]:
    """Return the names of all roles."""
    return set(ask(postgres, "SELECT rolname FROM pg_roles"))
