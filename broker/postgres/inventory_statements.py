"""The statements that look for what a server holds, and at whether it is as it should be.

Belongs here: SQL under the rules of ``statements.py``. A COMMENT is ours when it begins like a tag;
whether it is one, its reader decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.sql import SQL, Composed, Identifier, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTED_DATABASES = SQL("""
SELECT
    d.datname::pg_catalog.text AS name,
    pg_catalog.shobj_description(d.oid, 'pg_database') AS comment,
    d.datallowconn AS connectable,
    d.datconnlimit = -2 AS half_dropped
FROM pg_catalog.pg_database AS d
WHERE d.datdba = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER)
AND (%(database)s::pg_catalog.text IS NULL OR d.datname = %(database)s)
""")
"""List the databases of the broker's role, or look at one; those of its own state have no tag."""

LISTED_ROLES = SQL("""
SELECT
    r.rolname::pg_catalog.text AS name,
    s.description AS comment,
    r.rolcanlogin AS can_login,
    ARRAY(
        SELECT g.rolname::pg_catalog.text
        FROM pg_catalog.pg_auth_members AS m
        JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
        WHERE m.member = r.oid
    ) AS groups
FROM pg_catalog.pg_shdescription AS s
JOIN pg_catalog.pg_roles AS r ON r.oid = s.objoid
WHERE s.classoid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.description LIKE 'pgbroker:%%'
AND (%(roles)s::pg_catalog.text[] IS NULL OR r.rolname = ANY (%(roles)s))
""")
"""List the roles with a comment like ours, all of them or some by name."""

SEEN_DATABASE = SQL("""
SELECT
    pg_catalog.shobj_description(d.oid, 'pg_database') AS comment,
    d.datallowconn AS connectable,
    d.datconnlimit AS connection_limit,
    COALESCE((
        SELECT s.setconfig
        FROM pg_catalog.pg_db_role_setting AS s
        WHERE s.setdatabase = d.oid AND s.setrole = 0
    ), '{}') AS settings,
    ARRAY(
        SELECT ROW(
            COALESCE(r.rolname::pg_catalog.text, ''),
            a.privilege_type,
            COALESCE(
                pg_catalog.shobj_description(a.grantee, 'pg_authid') LIKE 'pgbroker:%%', false
            )
        )
        FROM pg_catalog.aclexplode(
            COALESCE(d.datacl, pg_catalog.acldefault('d', d.datdba))
        ) AS a
        LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = a.grantee
    ) AS grants,
    d.datdba = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER) AS ours
FROM pg_catalog.pg_database AS d
WHERE d.datname = %s
""")
"""Look at a database: its limits, and who may do what with it; the grantee '' is PUBLIC."""

SEEN_ROLES = SQL("""
SELECT
    r.rolname::pg_catalog.text AS name,
    r.oid::pg_catalog.int8 AS oid,
    pg_catalog.shobj_description(r.oid, 'pg_authid') AS comment,
    r.rolcanlogin AS can_login,
    r.rolconnlimit AS connection_limit,
    NULLIF(r.rolvaliduntil, 'infinity') AS valid_until,
    ARRAY(
        SELECT DISTINCT g.rolname::pg_catalog.text
        FROM pg_catalog.pg_auth_members AS m
        JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
        WHERE m.member = r.oid
        AND (
            g.rolname = ANY (%(names)s)
            OR pg_catalog.shobj_description(g.oid, 'pg_authid') LIKE 'pgbroker:%%'
        )
    ) AS groups,
    ARRAY(
        SELECT power
        FROM (
            VALUES
            ('SUPERUSER', r.rolsuper),
            ('CREATEROLE', r.rolcreaterole),
            ('CREATEDB', r.rolcreatedb),
            ('REPLICATION', r.rolreplication),
            ('BYPASSRLS', r.rolbypassrls)
        ) AS attributes (power, held)
        WHERE held
        UNION ALL
        SELECT g.rolname::pg_catalog.text
        FROM pg_catalog.pg_auth_members AS m
        JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
        WHERE m.member = r.oid AND (g.rolname LIKE 'pg\\_%%' OR g.rolsuper)
    ) AS powers
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = ANY (%(names)s)
""")
"""Look at roles: which of each other and of the broker's roles they are members of, and what they
may do that the broker gives to none: attributes, predefined roles, superusers' roles."""

DEFAULTS = SQL("""
SELECT DISTINCT d.defaclobjtype::pg_catalog.text
FROM pg_catalog.pg_default_acl AS d, LATERAL pg_catalog.aclexplode(d.defaclacl) AS a
WHERE d.defaclnamespace = 0
AND d.defaclrole = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(owner)s)
AND a.grantee = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = %(group)s)
AND a.privilege_type = CASE d.defaclobjtype WHEN 'n' THEN 'USAGE' ELSE 'SELECT' END
""")
"""List the kinds of objects of the owner role's that the read-only group role will get to read."""


def close_database(database: str, comment: str) -> Iterator[Composed]:
    """Let nobody in any more, and say why."""
    yield SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS false").format(Identifier(database))
    yield SQL("COMMENT ON DATABASE {} IS {}").format(Identifier(database), Literal(comment))


def shut_out(database: str, role: str) -> Composed:
    """Take from a role what it may do with a database."""
    return SQL("REVOKE ALL ON DATABASE {} FROM {}").format(Identifier(database), Identifier(role))


def leave_group(role: str, group: str) -> Composed:
    """End a membership."""
    return SQL("REVOKE {} FROM {}").format(Identifier(group), Identifier(role))
