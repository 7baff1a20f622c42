"""The statements that take things away: sessions, what a role owns or may do, databases, roles.

Belongs here: SQL under the rules of ``statements.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.sql import SQL, Composed, Identifier, Literal

from broker.postgres.prepared import Prepared

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

END_SESSIONS = Prepared(
    "end_sessions",
    ("oid[]", "text"),
    """
SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(a.pid))
FROM pg_catalog.pg_stat_activity AS a
WHERE a.usesysid = ANY ($1)
OR (
    a.datname = $2 AND a.usesysid IS NOT NULL
    AND NOT pg_catalog.has_database_privilege(a.usesysid, a.datid, 'CONNECT')
)
""",
)
"""Disconnect roles ($1), and whoever is in a database ($2) and could not connect to it any more.

By object identifier because a role may be gone before its sessions are. Strangers come in up to 14,
where a tenant can grant its own login to them.
"""

END_EXPIRED = SQL("""
SELECT r.rolname::pg_catalog.text, pg_catalog.count(pg_catalog.pg_terminate_backend(a.pid))
FROM pg_catalog.pg_stat_activity AS a
JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
WHERE r.rolvaliduntil < pg_catalog.clock_timestamp()
AND pg_catalog.shobj_description(r.oid, 'pg_authid') LIKE 'pgbroker:%'
GROUP BY 1 ORDER BY 1
""")
"""Disconnect the broker's logins whose passwords are accepted no more."""

END_OWN = SQL("""
SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(a.pid))
FROM pg_catalog.pg_stat_activity AS a
WHERE a.datname = {} AND a.usename = CURRENT_USER
AND a.application_name = pg_catalog.current_setting('application_name')
""")
"""Disconnect the broker's own sessions from a database."""

END_BLOCKERS = SQL("""
SELECT pg_catalog.pg_terminate_backend(a.pid)
FROM pg_catalog.pg_stat_activity AS a
JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
WHERE a.pid = ANY (pg_catalog.pg_blocking_pids(%s))
AND r.rolname <> CURRENT_USER AND NOT r.rolsuper
""")
"""Disconnect the tenants that a session of the broker waits for."""

DEPENDENT_DATABASES = Prepared(
    "look_at_dependent_databases",
    ("oid[]",),
    """
SELECT DISTINCT coalesce(d.datname, pg_catalog.current_database())::pg_catalog.text
FROM pg_catalog.pg_shdepend AS s
LEFT JOIN pg_catalog.pg_database AS d ON d.oid = s.dbid
WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = ANY ($1)
""",
)
"""List the databases in which roles own something, or were granted something.

For what belongs to no database, as a right on one does, this one.
"""

PREPARED = (END_SESSIONS, DEPENDENT_DATABASES)

UNJOINED_ROLES = SQL("""
SELECT r.rolname::pg_catalog.text
FROM pg_catalog.pg_roles AS r
WHERE NOT r.rolsuper AND r.rolname NOT LIKE 'pg\\_%%'
AND NOT pg_catalog.pg_has_role(r.oid, 'USAGE')
AND (
    r.oid = ANY (%(oids)s::pg_catalog.oid[])
    OR EXISTS (
        SELECT
        FROM pg_catalog.pg_shdepend AS s
        WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = r.oid
        AND s.deptype = 'o' AND s.dbid = (
            SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
        )
    )
    AND CASE
        WHEN %(confined)s THEN pg_catalog.pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')
        ELSE pg_catalog.shobj_description(r.oid, 'pg_authid') LIKE 'pgbroker:%%'
    END
)
""")
"""List the roles named and the owners of something here that the broker cannot act for yet.

An owner that somebody else made is left out: from 16 on the broker could not join it, and up to 15
it must not, and only the comment tells whose a role is. Who was merely granted something is left
out, too: nothing has to be done in its name.
"""

REASSIGNED_SCHEMAS = SQL("""
SELECT n.nspname::pg_catalog.text, n.nspowner = ANY (%(oids)s::pg_catalog.oid[]) AS owned
FROM pg_catalog.pg_namespace AS n
WHERE n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
AND pg_catalog.pg_has_role(n.nspowner, 'USAGE')
AND NOT pg_catalog.has_schema_privilege(%(heir)s::pg_catalog.name, n.oid, 'CREATE')
""")
"""List the schemas in which the heir could not own anything."""


OWNED_RELATIONS = SQL("""
SELECT pg_catalog.format(
    'ALTER %%s %%s OWNER TO %%I', i.type, i.identity, %(heir)s::pg_catalog.text
)
FROM pg_catalog.pg_shdepend AS s,
    LATERAL pg_catalog.pg_identify_object(s.classid, s.objid, s.objsubid) AS i
WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
AND s.refobjid = ANY (%(oids)s::pg_catalog.oid[])
AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
AND s.deptype = 'o'
AND s.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
AND NOT EXISTS (
    SELECT
    FROM pg_catalog.pg_depend AS d
    WHERE d.classid = s.classid AND d.objid = s.objid AND d.deptype IN ('a', 'i')
)
LIMIT %(limit)s
""")
"""Write the statements that hand over some relations that roles own here, one for each.

Names come quoted from the server. A column's sequence goes along with its table.
"""


def reassign(
    roles: Sequence[str], heir: str, schemas: Sequence[tuple[str, bool]]
) -> Iterator[Composed]:
    """Hand what roles own in this database to another role.

    Schemas come first: an object's new owner must be allowed to create in its schema.
    """
    for schema, owned in schemas:
        change = "ALTER SCHEMA {} OWNER TO {}" if owned else "GRANT ALL ON SCHEMA {} TO {}"
        yield SQL(change).format(Identifier(schema), Identifier(heir))
    yield SQL("REASSIGN OWNED BY {} TO {}").format(_names(roles), Identifier(heir))


def drop_owned(roles: Sequence[str]) -> Composed:
    """Take away all rights of roles in this database, and what they still own."""
    return SQL("DROP OWNED BY {} CASCADE").format(_names(roles))


def end_own(database: str) -> Composed:
    """Disconnect the broker's own sessions from a database; an operator's may go on."""
    return END_OWN.format(Literal(database))


def no_login(login: str) -> Composed:
    """Let no new session of a login role in."""
    return SQL("ALTER ROLE {} NOLOGIN").format(Identifier(login))


def drop_roles(roles: Sequence[str]) -> Composed:
    """Drop roles."""
    return SQL("DROP ROLE IF EXISTS {}").format(_names(roles))


def no_connections(database: str) -> Composed:
    """Let nobody into a database any more."""
    return SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false CONNECTION LIMIT 0").format(
        Identifier(database)
    )


def drop_database(database: str) -> Composed:
    """Drop a database, whoever is connected."""
    return SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(database))


def _names(roles: Sequence[str]) -> Composed:
    return SQL(", ").join(map(Identifier, roles))
