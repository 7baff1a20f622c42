"""The statements that concern a server as a whole.

Belongs here: SQL of the one-time preparation and of the check, under the rules of
``statements.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.sql import SQL, Composed, Identifier, Literal

from broker.postgres.statements import (
    PARAMETER_PRIVILEGES,
    PUBLIC_SCHEMA_OWNED_BY_DATABASE_OWNER,
    RESERVED_CONNECTIONS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPEN_DATABASES = SQL("""
ARRAY(
    SELECT d.datname::pg_catalog.text
    FROM pg_catalog.pg_database d
    WHERE d.datallowconn AND EXISTS (
        SELECT
        FROM pg_catalog.aclexplode(
            COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))
        ) AS acl
        WHERE acl.grantee = 0 AND acl.privilege_type = 'CONNECT'
    )
    ORDER BY d.datname
)
""")
"""The databases that PUBLIC may connect to."""

EXISTING = SQL("""
SELECT
    EXISTS (
        SELECT FROM pg_catalog.pg_roles WHERE rolname = %(role)s
    ) AS role_exists,
    EXISTS (
        SELECT FROM pg_catalog.pg_roles WHERE rolname = %(role)s AND rolsuper
    ) AS role_is_superuser,
    CURRENT_USER = %(role)s AS role_is_ours,
    EXISTS (
        SELECT FROM pg_catalog.pg_database WHERE datname = %(database)s
    ) AS database_exists,
    ARRAY(
        SELECT name FROM pg_catalog.unnest({open_databases}) AS name
        WHERE name IN ('postgres', 'template1', %(database)s)
    ) AS open_databases
""").format(open_databases=_OPEN_DATABASES)
"""What of the preparation is there already."""

MODERN_PUBLIC_SCHEMA = (
    SQL("ALTER SCHEMA public OWNER TO pg_database_owner"),
    SQL("REVOKE CREATE ON SCHEMA public FROM PUBLIC"),
)
"""Make the schema ``public`` what it is in PostgreSQL 15."""


_QUIET = (
    SQL("log_statement = 'none'"),
    SQL("log_min_duration_statement = -1"),
    SQL("log_min_duration_sample = -1"),
    SQL("log_transaction_sample_rate = 0"),
    SQL("log_min_error_statement = 'panic'"),
    SQL("pg_stat_statements.track_utility = off"),
)
"""Settings that keep the text of a session's statements out of log and statistics.

The broker's statements carry SCRAM verifiers, which a server that logs them would write down.
"""

QUIET_SESSION = tuple(SQL("SET ") + setting for setting in _QUIET)
"""The same, for the session that prepares."""


def broker_role(role: str, verifier: str, *, exists: bool, version: int) -> Iterator[Composed]:
    """Give the broker's role its attributes and memberships."""
    name = Identifier(role)
    yield SQL("{} ROLE {} LOGIN CREATEDB CREATEROLE INHERIT PASSWORD {}").format(
        SQL("ALTER" if exists else "CREATE"), name, Literal(verifier)
    )
    yield SQL("GRANT pg_signal_backend TO {}").format(name)
    if version >= RESERVED_CONNECTIONS:
        yield SQL("GRANT pg_use_reserved_connections TO {}").format(name)


def optional_rights(role: str, version: int) -> Iterator[Composed]:
    """Give the broker's role what it can do without, where whoever prepares may give it."""
    name = Identifier(role)
    if version >= PARAMETER_PRIVILEGES:
        yield SQL("GRANT SET ON PARAMETER temp_file_limit TO {}").format(name)
    for setting in _QUIET:
        yield SQL("ALTER ROLE {} SET ").format(name) + setting


def close_to_public(database: str) -> Composed:
    """Take from PUBLIC what every new database grants it: CONNECT and TEMPORARY."""
    return SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(Identifier(database))


def create_database(database: str, owner: str) -> Composed:
    """Create the broker's maintenance database."""
    return SQL("CREATE DATABASE {} OWNER {} TEMPLATE template0").format(
        Identifier(database), Identifier(owner)
    )


def allow_connections(database: str, *, allow: bool) -> Composed:
    """Let sessions into a database, or keep everybody out of it."""
    return SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
        Identifier(database), Literal(allow)
    )


TRAITS = SQL("""
SELECT
    EXTRACT(EPOCH FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.text AS identity,
    ARRAY(
        SELECT v.name::pg_catalog.text
        FROM pg_catalog.pg_available_extensions AS e
        JOIN pg_catalog.pg_available_extension_versions AS v
            ON v.name = e.name AND v.version = e.default_version
        WHERE v.trusted OR NOT v.superuser
    ) AS extensions
""")
"""Read what can be installed, and what tells servers apart: when they started, to a microsecond."""

VITALS = SQL("""
SELECT
    pg_catalog.split_part(pg_catalog.current_setting('server_version'), ' ', 1) AS version,
    pg_catalog.current_setting('max_connections')::pg_catalog.int4
    - pg_catalog.current_setting('superuser_reserved_connections')::pg_catalog.int4
    - COALESCE(
        pg_catalog.current_setting('reserved_connections', true)::pg_catalog.int4, 0
    ) AS connection_slots
""")
"""Read what the choice of a server and its operator want to know, in one row."""


def findings(version: int) -> Composed:
    """Read everything the check judges, in one row."""
    return SQL("""
SELECT
    role.rolname::pg_catalog.text AS role,
    role.rolsuper AS is_superuser,
    role.rolcreatedb AS can_create_database,
    role.rolcreaterole AS can_create_role,
    pg_catalog.pg_has_role('pg_signal_backend', 'USAGE') AS can_signal,
    {can_set_temp_file_limit} AS can_set_temp_file_limit,
    {has_reserve} AS has_reserve,
    {open_databases} AS open_databases,
    {public_schema_writable} AS public_schema_writable,
    pg_catalog.current_setting('max_prepared_transactions')::pg_catalog.int4
        AS max_prepared_transactions,
    pg_catalog.current_setting('data_checksums')::pg_catalog.bool AS data_checksums,
    pg_catalog.current_setting('ssl')::pg_catalog.bool AS ssl,
    pg_catalog.current_setting('log_statement') AS log_statement,
    (
        SELECT setting::pg_catalog.int4
        FROM pg_catalog.pg_settings
        WHERE name = 'authentication_timeout'
    ) AS authentication_timeout
FROM pg_catalog.pg_roles AS role
WHERE role.rolname = CURRENT_USER
""").format(
        can_set_temp_file_limit=can_set_temp_file_limit(version),
        has_reserve=_has_reserve(version),
        public_schema_writable=_public_schema_writable(version),
        open_databases=_OPEN_DATABASES,
    )


def _public_schema_writable(version: int) -> SQL:
    """Tell whether everybody may create in new databases, as an SQL condition.

    Asked of the maintenance database, which was made from the same template. From 15 on there is
    nothing to ask: a template is as it should be, and only a database that came along in an
    upgrade can have a schema of the old kind.
    """
    if version >= PUBLIC_SCHEMA_OWNED_BY_DATABASE_OWNER:
        return SQL("false")
    return SQL(
        "EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'public' AND nspowner = 10)"
    )


def _has_reserve(version: int) -> SQL:
    """Tell whether connections are set aside that tenants cannot take, as an SQL condition."""
    if version >= RESERVED_CONNECTIONS:
        return SQL(
            "pg_catalog.current_setting('reserved_connections') <> '0' "
            "AND pg_catalog.pg_has_role('pg_use_reserved_connections', 'USAGE')"
        )
    return SQL("true")  # there is no such thing to recommend


def facts(version: int) -> Composed:
    """Read what the engine adapts to, in one row."""
    return SQL("""
SELECT
    {version} AS version,
    role.rolsuper AS is_superuser,
    pg_catalog.current_setting('data_checksums')::pg_catalog.bool AS data_checksums,
    {can_set_temp_file_limit} AS can_set_temp_file_limit
FROM pg_catalog.pg_roles AS role
WHERE role.rolname = CURRENT_USER
""").format(version=Literal(version), can_set_temp_file_limit=can_set_temp_file_limit(version))


def can_set_temp_file_limit(version: int) -> SQL:
    """Tell whether the current role may limit temporary files, as an SQL condition."""
    if version >= PARAMETER_PRIVILEGES:
        return SQL("pg_catalog.has_parameter_privilege('temp_file_limit', 'SET')")
    return SQL("role.rolsuper")
