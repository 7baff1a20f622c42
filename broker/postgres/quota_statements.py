"""The statements that make a whole database read-only to its tenant, and writable again.

Belongs here: SQL under the rules of ``statements.py``. Several queries return statements: names
come quoted from the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.sql import SQL, Composed, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZES = SQL("""
SELECT d.datname::pg_catalog.text, pg_catalog.pg_database_size(d.oid)
FROM pg_catalog.pg_database AS d
WHERE d.datdba = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER)
AND d.datconnlimit <> -2
""")
"""Measure all databases of the broker's, in bytes."""

LOGINS = SQL("""
SELECT
    u.rolname::pg_catalog.text AS name,
    u.oid::pg_catalog.int8 AS oid,
    pg_catalog.bool_or(g.rolname = %(owner)s) AS writes
FROM pg_catalog.pg_auth_members AS m
JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
JOIN pg_catalog.pg_roles AS u ON u.oid = m.member
WHERE g.rolname IN (%(database)s, %(owner)s)
AND u.rolname NOT IN (%(owner)s, CURRENT_USER)
AND pg_catalog.shobj_description(u.oid, 'pg_authid') LIKE 'pgbroker:%%'
GROUP BY u.rolname, u.oid
""")
"""List the login roles of a database, by their membership; an operator's roles are left alone."""

SESSIONS = SQL("""
SELECT a.pid
FROM pg_catalog.pg_stat_activity AS a
WHERE a.datname = %(database)s
AND (a.usesysid = ANY (%(oids)s::pg_catalog.oid[]) OR %(oids)s::pg_catalog.oid[] IS NULL)
AND pg_catalog.shobj_description(a.usesysid, 'pg_authid') LIKE 'pgbroker:%%'
""")
"""List the sessions of tenants in a database, or those of some logins."""

OWNERS = SQL("""
SELECT r.rolname::pg_catalog.text, r.oid::pg_catalog.int8
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = ANY (%s) AND EXISTS (
    SELECT
    FROM pg_catalog.pg_shdepend AS s
    WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass AND s.refobjid = r.oid
    AND s.deptype = 'o' AND s.dbid = (
        SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()
    )
)
""")
"""List those of the roles that own something in this database."""

SEALED = "pgbroker: SECURITY DEFINER again when there is room"
"""Marks a routine in its settings, the only place on it that a tenant has no use for."""

SEALING = SQL("""
SELECT pg_catalog.format(
    'ALTER ROUTINE %%s SECURITY INVOKER SET application_name TO %%L',
    p.oid::pg_catalog.regprocedure, %(mark)s::pg_catalog.text
)
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_roles AS o ON o.oid = p.proowner
JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace
WHERE p.prosecdef AND pg_catalog.pg_has_role(o.oid, 'USAGE')
AND NOT o.rolsuper AND o.rolname <> CURRENT_USER AND n.nspname NOT LIKE 'pg\\_%%'
""")
"""Write the statements that let no SECURITY DEFINER routine write in its owner's name."""

UNSEALING = SQL("""
SELECT pg_catalog.format(
    'ALTER ROUTINE %%s SECURITY DEFINER RESET application_name', p.oid::pg_catalog.regprocedure
)
FROM pg_catalog.pg_proc AS p
JOIN pg_catalog.pg_roles AS o ON o.oid = p.proowner
WHERE pg_catalog.pg_has_role(o.oid, 'USAGE') AND NOT o.rolsuper AND o.rolname <> CURRENT_USER
AND 'application_name=' || %(mark)s::pg_catalog.text = ANY (p.proconfig)
""")
"""Write the statements that take that back."""

WITHDRAWING = SQL("""
WITH granted AS (
    SELECT c.oid, n.nspname, c.relname, c.relowner, acl.grantee, acl.privilege_type
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace,
    LATERAL (
        SELECT e.grantee, e.privilege_type FROM pg_catalog.aclexplode(c.relacl) AS e
        UNION ALL
        SELECT e.grantee, e.privilege_type
        FROM pg_catalog.pg_attribute AS a, pg_catalog.aclexplode(a.attacl) AS e
        WHERE a.attrelid = c.oid
    ) AS acl
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
    AND pg_catalog.pg_has_role(c.relowner, 'USAGE')
    AND acl.privilege_type IN ('INSERT', 'UPDATE', 'MAINTAIN') AND acl.grantee <> c.relowner
), statements AS (
    SELECT pg_catalog.format(
        'REVOKE %%s ON TABLE %%I.%%I FROM ',
        pg_catalog.string_agg(DISTINCT privilege_type, ', '), nspname, relname
    ) AS revoke, grantee
    FROM granted
    GROUP BY oid, nspname, relname, grantee
    UNION ALL
    SELECT pg_catalog.format('REVOKE CREATE ON SCHEMA %%I FROM ', n.nspname), acl.grantee
    FROM pg_catalog.pg_namespace AS n, pg_catalog.aclexplode(n.nspacl) AS acl
    WHERE n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
    AND pg_catalog.pg_has_role(n.nspowner, 'USAGE')
    AND acl.privilege_type = 'CREATE' AND acl.grantee <> n.nspowner
)
SELECT DISTINCT s.revoke || COALESCE(pg_catalog.quote_ident(g.rolname), 'PUBLIC') || ' CASCADE'
FROM statements AS s
LEFT JOIN pg_catalog.pg_roles AS g ON g.oid = s.grantee
WHERE g.rolname IS DISTINCT FROM CURRENT_USER
""")
"""Write the statements that withdraw what others than owners may write, or create in schemas."""


def end_sessions(database: str, pids: Sequence[int]) -> Composed:
    """Disconnect sessions of a database."""
    return SQL(
        "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(a.pid)) "
        "FROM pg_catalog.pg_stat_activity AS a WHERE a.datname = {} AND a.pid = ANY ({})"
    ).format(Literal(database), Literal(list(pids)))
