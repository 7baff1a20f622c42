"""The statements that make and change databases and roles.

Belongs here: SQL text, each statement with one line on its purpose, and the functions that put
names and values into it, only ever through ``psycopg.sql``. Statements that lock and look are in
``look_statements.py``, those that take things away in ``revocation_statements.py``, those about a
server as a whole in ``server_statements.py``.

Functions and catalogs are qualified, although sessions pin ``search_path``: an unqualified name
resolved in a tenant's schema would run the tenant's code with the broker's rights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.sql import SQL, Composed, Identifier, Literal

from broker.domain.database import Access
from broker.postgres.access_statements import let_read_only, let_write

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import timedelta
    from typing import LiteralString

    from psycopg import AsyncConnection, AsyncCursor
    from psycopg.rows import TupleRow

    from broker.domain.database import DatabaseSpec, Limits, LoginSpec

PARAMETER_PRIVILEGES = 15
"""The first version with ``GRANT SET ON PARAMETER``."""

PUBLIC_SCHEMA_OWNED_BY_DATABASE_OWNER = 15
"""The first version whose schema ``public`` belongs to the database's owner."""

CREATEROLE_CONFINED = 16
"""The first version in which ``CREATEROLE`` reaches only roles it was given ``ADMIN`` on."""

RESERVED_CONNECTIONS = 16
"""The first version with connections set aside for members of a role."""

LARGE_OBJECT_DEFAULTS = 18
"""The first version with default privileges on large objects."""

INVALID_DATABASE = -2
"""``datconnlimit`` of a database whose DROP was interrupted."""

SESSION_OPTIONS = (
    "-c search_path=pg_catalog,pg_temp -c default_transaction_read_only=off -c lock_timeout=5s"
)
"""What every session of the broker starts with, whatever roles and databases are set to."""

NOT_DURABLE_YET = SQL("SET LOCAL synchronous_commit = off")
"""Let this transaction wait for no disk: one follows, before anybody relies on it, that does.

A commit that waits for the disk, or for standbys, has what was committed before it there, too. See
the PostgreSQL manual, "Asynchronous Commit".
"""

EXTENSIONS = SQL("""
SELECT e.name::pg_catalog.text AS name, v.schema::pg_catalog.text AS schema,
    v.trusted OR NOT v.superuser AS installable
FROM pg_catalog.pg_available_extensions AS e
JOIN pg_catalog.pg_available_extension_versions AS v
    ON v.name = e.name AND v.version = e.default_version
WHERE e.name = ANY (%s)
""")
"""Look at what the server could install: fixed schema, and whether a superuser is needed."""

UNREADABLE_SCHEMAS = SQL("""
SELECT n.nspname::pg_catalog.text
FROM pg_catalog.pg_namespace AS n
WHERE n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
AND pg_catalog.pg_has_role(n.nspowner, 'USAGE')
AND NOT pg_catalog.has_schema_privilege(%s::pg_catalog.name, n.oid, 'USAGE')
""")
"""List the schemas that read-only logins may not use."""

UNREADABLE_RELATIONS = SQL("""
SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
AND NOT pg_catalog.has_table_privilege(%s::pg_catalog.name, c.oid, 'SELECT')
""")
"""List the tables, views and sequences that read-only logins may not read."""


async def run(connection: AsyncConnection, *statements: Composed | SQL) -> AsyncCursor[TupleRow]:
    """Run statements as one message: one round trip and one implicit transaction.

    See the PostgreSQL manual, "Multiple Statements in a Simple Query".
    """
    return await connection.execute(SQL("; ").join(statements))


def create_groups(spec: DatabaseSpec, names: Sequence[str], version: int) -> Iterator[Composed]:
    """Create the read-only group role and the owner role, or what is missing of them.

    The owner role is a member of the other one so that every login of the database is, as
    ``samerole`` in ``pg_hba.conf`` demands. From 16 on it is nothing but a member.

    ``CONNECTION LIMIT`` has no effect on a role that cannot log in: it is where the plan's limit
    on the database is written down, for whoever has to raise that one for a moment.
    """
    for name in names:
        owns = name == spec.owner
        yield SQL("CREATE ROLE {} NOLOGIN CONNECTION LIMIT {}").format(
            Identifier(name), Literal(spec.limits.connections if owns else -1)
        )
        yield comment_on_role(name, spec.owner_comment if owns else spec.tag)
    yield join_roles(names, version)
    yield join_groups(spec, version)


def join_groups(spec: DatabaseSpec, version: int) -> Composed:
    """Make the owner role a member of the read-only group role."""
    return SQL("GRANT {} TO {}{}").format(
        Identifier(spec.name),
        Identifier(spec.owner),
        SQL(" WITH INHERIT FALSE, SET FALSE" if version >= CREATEROLE_CONFINED else ""),
    )


def comment_on_role(name: str, comment: str) -> Composed:
    """Say whose a role is."""
    return SQL("COMMENT ON ROLE {} IS {}").format(Identifier(name), Literal(comment))


def join_roles(names: Sequence[str], version: int) -> Composed:
    """Make the broker's role a member of roles, so that it may act for them."""
    return SQL("GRANT {} TO CURRENT_USER{}").format(
        SQL(", ").join(map(Identifier, names)),
        # The creator of a role gets no more than ADMIN from 16 on.
        SQL(" WITH INHERIT TRUE, SET TRUE" if version >= CREATEROLE_CONFINED else ""),
    )


def create_database(name: str, options: Sequence[tuple[str, str]]) -> Composed:
    """Create a database that nobody can connect to.

    A stranger who connected before the fence is up would stay inside it.
    """
    return SQL(
        "CREATE DATABASE {} TEMPLATE template0 ALLOW_CONNECTIONS false CONNECTION LIMIT 0{}"
    ).format(
        Identifier(name),
        Composed([SQL(" {} = {}").format(SQL(key), Literal(value)) for key, value in options]),
    )


def fence(spec: DatabaseSpec) -> Iterator[Composed]:
    """Close a database to everybody but its roles, and say whose it is."""
    database, group, owner = Identifier(spec.name), Identifier(spec.name), Identifier(spec.owner)
    yield SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database)
    yield SQL("GRANT CONNECT, TEMPORARY, CREATE ON DATABASE {} TO {}").format(database, owner)
    yield SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, group)
    yield comment_on_database(spec.name, spec.tag)


def comment_on_database(name: str, tag: str) -> Composed:
    """Say whose a database is."""
    return SQL("COMMENT ON DATABASE {} IS {}").format(Identifier(name), Literal(tag))


def settings(database: str, limits: Limits, *, temp_file_limit: bool) -> Iterator[Composed]:
    """Set a plan's defaults for every session in a database."""
    for name, value in setting_values(limits, temp_file_limit=temp_file_limit).items():
        setting = SQL("RESET {}") if value is None else SQL("SET {} = {}")
        yield SQL("ALTER DATABASE {} ").format(Identifier(database)) + setting.format(
            Identifier(name), Literal(value)
        )


def setting_values(limits: Limits, *, temp_file_limit: bool) -> dict[LiteralString, int | None]:
    """Return a plan's defaults by the names of the settings; ``None`` is the server's own."""
    values: dict[LiteralString, int | None] = {
        "statement_timeout": _milliseconds(limits.statement_timeout),
        "idle_in_transaction_session_timeout": _milliseconds(
            limits.idle_in_transaction_session_timeout
        ),
    }
    if temp_file_limit:
        values["temp_file_limit"] = (
            None if limits.temp_file_limit is None else limits.temp_file_limit // 1024
        )
    return values


def _milliseconds(duration: timedelta | None) -> int | None:
    return None if duration is None else round(duration.total_seconds() * 1000)


def connection_limit(database: str, limit: int) -> Composed:
    """Let so many sessions into a database."""
    return SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true CONNECTION LIMIT {}").format(
        Identifier(database), Literal(limit)
    )


def record_limit(owner: str, limit: int) -> Composed:
    """Write a database's connection limit down on its owner role."""
    return SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(Identifier(owner), Literal(limit))


def own_schema(spec: DatabaseSpec, version: int) -> Iterator[SQL | Composed]:
    """Give schema ``public`` to the owner role, and let read-only logins read what comes.

    A session remembers whose privileges its role has. One that got the last free connection
    was asked so before it had a database (``reserved_connections``), and does not know of
    ``pg_database_owner``, whose the schema is. Asking about another role makes it forget.
    """
    owner, group = Identifier(spec.owner), Identifier(spec.name)
    if version >= RESERVED_CONNECTIONS:
        yield SQL("SELECT pg_catalog.pg_has_role({}, {}, 'USAGE')").format(
            Literal(spec.owner), Literal(spec.name)
        )
    yield SQL("ALTER SCHEMA public OWNER TO {}").format(owner)
    yield SQL("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    yield SQL("GRANT USAGE ON SCHEMA public TO {}").format(group)
    yield from default_reading(spec, version)


def default_reading(spec: DatabaseSpec, version: int) -> Iterator[Composed]:
    """Let read-only logins read what the owner role will make."""
    owner, group = Identifier(spec.owner), Identifier(spec.name)
    grants = ["SELECT ON TABLES", "SELECT ON SEQUENCES", "USAGE ON SCHEMAS"]
    if version >= LARGE_OBJECT_DEFAULTS:
        grants.append("SELECT ON LARGE OBJECTS")
    for grant in grants:
        yield SQL("ALTER DEFAULT PRIVILEGES FOR ROLE {} GRANT {} TO {}").format(
            owner, SQL(grant), group
        )


def create_extension(name: str, schema: str) -> Composed:
    """Install an extension and what it requires."""
    return SQL("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {} CASCADE").format(
        Identifier(name), Identifier(schema)
    )


def drop_extension(name: str) -> Composed:
    """Remove an extension, unless something of the tenant's depends on it."""
    return SQL("DROP EXTENSION IF EXISTS {} RESTRICT").format(Identifier(name))


def create_login(spec: LoginSpec) -> Iterator[Composed]:
    """Create a login role, member of its group from the first moment on."""
    yield SQL("CREATE ROLE {} LOGIN INHERIT {} IN ROLE {}").format(
        Identifier(spec.name), _attributes(spec), Identifier(spec.group)
    )
    yield comment_on_role(spec.name, spec.comment)
    if spec.access is Access.WRITE:
        yield _in_database(spec, SQL("SET role = {}").format(Literal(spec.group)))
    else:
        yield _in_database(spec, SQL("SET default_transaction_read_only = on"))


def alter_login(spec: LoginSpec) -> Iterator[Composed]:
    """Make an existing login role what the specification says."""
    yield SQL("ALTER ROLE {} LOGIN INHERIT {}").format(Identifier(spec.name), _attributes(spec))
    yield comment_on_role(spec.name, spec.comment)
    give = let_write if spec.access is Access.WRITE else let_read_only
    yield from give(spec.name, database=spec.database, owner=spec.owner)


def login_limit(login: str, limit: int) -> Composed:
    """Let so many sessions of a login role in."""
    return SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(Identifier(login), Literal(limit))


def _attributes(spec: LoginSpec) -> Composed:
    until = "infinity" if spec.valid_until is None else spec.valid_until.isoformat()
    password = (
        SQL("") if spec.verifier is None else SQL("PASSWORD {} ").format(spec.verifier.reveal())
    )
    return SQL("CONNECTION LIMIT {} {}VALID UNTIL {}").format(
        Literal(spec.limits.connections_per_binding), password, Literal(until)
    )


def _in_database(spec: LoginSpec, setting: SQL | Composed) -> Composed:
    return SQL("ALTER ROLE {} IN DATABASE {} ").format(
        Identifier(spec.name), Identifier(spec.database)
    ) + Composed([setting])


def let_into_schemas(group: str, schemas: Sequence[str]) -> Composed:
    """Let the read-only group role use schemas."""
    return SQL("GRANT USAGE ON SCHEMA {} TO {}").format(
        SQL(", ").join(map(Identifier, schemas)), Identifier(group)
    )


def let_read(group: str, relations: Sequence[tuple[str, ...]]) -> Composed:
    """Let the read-only group role read tables, views and sequences."""
    return SQL("GRANT SELECT ON {} TO {}").format(
        SQL(", ").join(Identifier(*relation) for relation in relations), Identifier(group)
    )
