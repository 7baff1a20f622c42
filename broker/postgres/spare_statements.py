"""The statements that tell whether a database of the warm stock has ever been used.

Belongs here: SQL under the rules of ``statements.py``.
"""

from __future__ import annotations

from psycopg.sql import SQL

OTHERS = SQL("""
SELECT
    (
        SELECT pg_catalog.count(*)
        FROM pg_catalog.pg_stat_activity AS a
        JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
        WHERE a.datname = %(database)s AND r.rolname <> CURRENT_USER
    ) AS sessions,
    (
        SELECT pg_catalog.count(*)
        FROM pg_catalog.pg_auth_members AS m
        JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
        JOIN pg_catalog.pg_roles AS r ON r.oid = m.member
        WHERE g.rolname = ANY (%(groups)s) AND r.rolcanlogin AND NOT r.rolsuper
        AND r.rolname <> CURRENT_USER
    ) AS logins
""")
"""Count other people's sessions in a database, and the logins in its group roles."""

CONTENTS = SQL("""
SELECT pg_catalog.count(*)
FROM (
    SELECT 'pg_catalog.pg_class'::pg_catalog.regclass AS class, c.oid
    FROM pg_catalog.pg_class AS c
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid FROM pg_catalog.pg_proc AS p
    UNION ALL
    SELECT 'pg_catalog.pg_namespace'::pg_catalog.regclass, n.oid
    FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'public'
    UNION ALL
    SELECT 'pg_catalog.pg_largeobject'::pg_catalog.regclass, l.oid
    FROM pg_catalog.pg_largeobject_metadata AS l
) AS o
WHERE (o.oid >= 16384 OR o.class = 'pg_catalog.pg_largeobject'::pg_catalog.regclass)
AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend AS d
    WHERE d.classid = o.class AND d.objid = o.oid AND d.deptype = 'e'
)
""")
"""Count what somebody has made in a database: all but the server's own and that of extensions."""
