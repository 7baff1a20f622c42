"""The statements that lock a database and look at it, on the maintenance database.

Belongs here: SQL under the rules of ``statements.py``.
"""

from __future__ import annotations

import hashlib

from psycopg.sql import SQL, Composed, Literal

from broker.postgres.prepared import Prepared

UNLOCK = SQL("SELECT pg_catalog.pg_advisory_unlock_all()")
"""Let the broker's other sessions at the database again, however often it was locked."""

PING = SQL("")
"""Find out whether a session is still there."""

END_FROZEN_HOLDER = SQL("""
SELECT pg_catalog.pg_terminate_backend(l.pid)
FROM pg_catalog.pg_locks AS l
JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
AND l.pid <> pg_catalog.pg_backend_pid()
AND a.datname = pg_catalog.current_database() AND l.database = a.datid
AND (l.classid::pg_catalog.int8 << 32 | l.objid::pg_catalog.int8) = %s
AND a.state <> 'active'
AND a.state_change < pg_catalog.clock_timestamp() - pg_catalog.make_interval(secs => %s)
""")
"""Disconnect the holder of an advisory lock that has not run anything for so many seconds."""

DATABASE = Prepared(
    "look_at_database",
    ("text", "text"),
    """
SELECT
    d.datdba = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER) AS ours,
    pg_catalog.split_part(pg_catalog.shobj_description(d.oid, 'pg_database'), ' ', 1) AS tag,
    d.datallowconn AS connectable,
    d.datconnlimit AS connection_limit,
    o.rolconnlimit AS recorded_limit
FROM pg_catalog.pg_database AS d
LEFT JOIN pg_catalog.pg_roles AS o ON o.rolname = $2
WHERE d.datname = $1
""",
)
"""Look at a database ($1), and at its owner role ($2)."""

ROLES = Prepared(
    "look_at_roles",
    ("text[]",),
    """
SELECT
    r.rolname::pg_catalog.text AS name,
    r.oid::pg_catalog.int8 AS oid,
    pg_catalog.split_part(pg_catalog.shobj_description(r.oid, 'pg_authid'), ' ', 1) AS tag
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = ANY ($1)
""",
)
"""Look at roles by name. The tag is the first word of the comment, or the whole of it."""

LOGINS = Prepared(
    "look_at_logins",
    ("text[]", "text", "text"),
    """
SELECT
    u.rolname::pg_catalog.text AS name,
    u.oid::pg_catalog.int8 AS oid,
    u.rolsuper OR u.rolcreaterole OR u.rolcreatedb OR u.rolname IN ($2, $3) OR NOT EXISTS (
        SELECT
        FROM pg_catalog.pg_auth_members AS m
        JOIN pg_catalog.pg_roles AS g ON g.oid = m.roleid
        WHERE m.member = u.oid AND g.rolname IN ($2, $3)
    ) AND (
        COALESCE(pg_catalog.shobj_description(u.oid, 'pg_authid'), '') NOT LIKE 'pgbroker:%'
        OR EXISTS (
            SELECT
            FROM pg_catalog.pg_auth_members AS m
            JOIN pg_catalog.pg_roles AS b ON b.rolname = CURRENT_USER
            WHERE (m.roleid = u.oid AND m.member <> b.oid)
            OR (
                m.member = u.oid
                AND pg_catalog.shobj_description(m.roleid, 'pg_authid') LIKE 'pgbroker:%'
            )
        )
    ) AS foreign_role
FROM pg_catalog.pg_roles AS u
WHERE u.rolname = ANY ($1)
""",
)
"""Look at login roles ($1): whether they are of this database ($2) with this owner role ($3).

One that has lost its membership is, as long as it has the broker's comment, is of no other and,
unlike a group role, has no members.
"""

LIFTABLE_LIMIT = SQL("""
SELECT o.rolconnlimit
FROM pg_catalog.pg_database AS d
JOIN pg_catalog.pg_roles AS o ON o.rolname = %s
WHERE d.datname = %s AND d.datallowconn AND d.datconnlimit >= 0
AND d.datdba = (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = CURRENT_USER)
""")
"""Look up the connection limit of a database of ours as its plan has it: on its owner role."""

COMMENT_ON_ROLE = SQL("""
SELECT pg_catalog.shobj_description(r.oid, 'pg_authid')
FROM pg_catalog.pg_roles AS r
WHERE r.rolname = %s
""")
"""Look at the whole comment on a role."""

SIZE = SQL("SELECT pg_catalog.pg_database_size(%s::pg_catalog.name)")
"""Measure a database, in bytes."""

PREPARED = (DATABASE, ROLES, LOGINS)


def lock(database: str) -> Composed:
    """Keep the broker's other sessions away from one database, until unlocked or gone."""
    return SQL("SELECT pg_catalog.pg_advisory_lock({})").format(Literal(lock_key(database)))


def lock_key(database: str) -> int:
    """Return the advisory lock's key for a database name: a signed 64-bit hash."""
    digest = hashlib.sha256(f"pgbroker:{database}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
