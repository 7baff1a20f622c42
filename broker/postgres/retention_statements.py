"""The statements that put a database aside and back.

Belongs here: SQL under the rules of ``statements.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.sql import SQL, Composed, Identifier, Literal

from broker.postgres.statements import comment_on_role

if TYPE_CHECKING:
    from collections.abc import Iterator

    from broker.domain.database import DatabaseSpec, Retention

STRANGERS = SQL("""
SELECT DISTINCT r.rolname::pg_catalog.text, r.oid::pg_catalog.int8
FROM pg_catalog.pg_shdepend AS s
JOIN pg_catalog.pg_roles AS r ON r.oid = s.refobjid
JOIN pg_catalog.pg_database AS d ON d.oid = s.dbid
WHERE s.refclassid = 'pg_catalog.pg_authid'::pg_catalog.regclass
AND d.datname = %(database)s
AND r.rolname <> ALL (%(own)s) AND r.rolname <> CURRENT_USER AND NOT r.rolsuper
AND pg_catalog.shobj_description(r.oid, 'pg_authid') LIKE 'pgbroker:%%'
""")
"""List the other roles of the broker's that own something in a database, or were granted it."""


def end_in_database(database: str) -> Composed:
    """Disconnect everybody from a database, but for superusers, whom only a superuser can end."""
    return SQL("""
SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(a.pid))
FROM pg_catalog.pg_stat_activity AS a
JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
WHERE a.datname = {}
AND (
    NOT r.rolsuper
    OR (SELECT b.rolsuper FROM pg_catalog.pg_roles AS b WHERE b.rolname = CURRENT_USER)
)
""").format(Literal(database))


def put_aside(retention: Retention) -> Iterator[Composed]:
    """Give a database the name and the tag it has while it is kept."""
    yield from _tag(retention.database, retention.tag, retention.owner_comment)
    yield _rename(retention.database.name, retention.name)


def put_back(retention: Retention) -> Iterator[Composed]:
    """Give a database the name and the tag it has as an instance's."""
    database = retention.database
    yield _rename(retention.name, database.name)
    yield from _tag(database, database.tag, database.owner_comment)


def _rename(before: str, after: str) -> Composed:
    return SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(before), Identifier(after))


def _tag(database: DatabaseSpec, tag: str, owner_comment: str) -> Iterator[Composed]:
    yield SQL("COMMENT ON DATABASE {} IS {}").format(Identifier(database.name), Literal(tag))
    yield comment_on_role(database.name, tag)
    yield comment_on_role(database.owner, owner_comment)
