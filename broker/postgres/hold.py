"""The lock of one database, and what the catalogs say of it to whoever has it.

Belongs here: what was found, and finding it again once it has been changed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from psycopg.errors import LockNotAvailable

from broker.domain.names import former_name, owner_name
from broker.postgres import look_statements as sql
from broker.postgres.statements import run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from psycopg import AsyncConnection, AsyncCursor
    from psycopg.rows import TupleRow
    from psycopg.sql import SQL, Composed

    from broker.postgres.facts import Facts

T = TypeVar("T")

TENANT_WORK_TIMEOUT = 45
"""Seconds the whole work on a tenant's database may take, on one connection."""

LOCK_ROUNDS = 4
"""How often to wait ``lock_timeout`` for the lock of a database."""

FROZEN_AFTER = TENANT_WORK_TIMEOUT + 15
"""Seconds without a statement after which the holder of a lock is taken for dead.

A holder is idle on the maintenance database while it works on a tenant's, so this must be longer
than it may spend there.
"""


@dataclass(frozen=True, slots=True)
class FoundDatabase:
    """A database as the catalogs have it.

    Attributes:
        ours: The broker's role owns it.
        tag: Its comment.
        connectable: Whether it accepts connections at all.
        connection_limit: How many; ``INVALID_DATABASE`` when its DROP was interrupted.
        recorded_limit: How many the plan allows, ``None`` when the owner role is missing.
    """

    ours: bool
    tag: str | None
    connectable: bool
    connection_limit: int
    recorded_limit: int | None


@dataclass(frozen=True, slots=True)
class FoundRole:
    """A role as the catalogs have it.

    Attributes:
        name: Its name.
        oid: Its object identifier.
        tag: The first word of its comment.
    """

    name: str
    oid: int
    tag: str | None


@dataclass(frozen=True, slots=True)
class Found:
    """What there is.

    Attributes:
        database: The database.
        groups: Those of its group roles that exist, by name.
    """

    database: FoundDatabase | None
    groups: Mapping[str, FoundRole]


class Hold:
    """The lock of one database, and the connection that holds it.

    Nobody else changes the database or its roles, so that one look is enough until we change them.

    Attributes:
        database: The database's name.
        connection: To the maintenance database, in autocommit mode.
        facts: About the server.
        whole: The database was found finished, so that nothing has to be done to it but what its
            instance wants in addition.
    """

    def __init__(
        self, database: str, connection: AsyncConnection, facts: Facts, found: Found
    ) -> None:
        self.database = database
        self.connection = connection
        self.facts = facts
        self.whole = False
        self._found: Found | None = found

    async def look(self) -> Found:
        """Return what the catalogs say of the database and its group roles."""
        if self._found is None:
            self._found = await _answers(await run(self.connection, *_questions(self.database)))
        return self._found

    async def lock_too(self, database: str) -> None:
        """Lock another database, too, until this one is unlocked.

        Raises:
            psycopg.errors.LockNotAvailable: Another session is at work there, and not frozen.
            psycopg.errors.DeadlockDetected: It waits for the database that we have locked.
        """
        name = former_name(database)
        await _insisting(self.connection, name, lambda: run(self.connection, sql.lock(name)))

    async def look_at(self, database: str) -> FoundDatabase | None:
        """Return what the catalogs say of the database under another name than it is locked by."""
        owner = owner_name(self.database)
        cursor = await run(self.connection, sql.DATABASE(database, owner))
        row = await cursor.fetchone()
        return None if row is None else FoundDatabase(*row)

    async def change(self, *statements: SQL | Composed) -> None:
        """Run statements, each with one result, and look again, in one round trip."""
        cursor = await run(self.connection, *statements, *_questions(self.database))
        for _ in statements:
            cursor.nextset()
        self._found = await _answers(cursor)

    def created_database(self, connections: int) -> None:
        """Know, without another look, that the database has just been made, closed to everybody.

        Args:
            connections: The plan's limit, as it is written down on the owner role.
        """
        groups = {} if self._found is None else self._found.groups
        self._found = Found(FoundDatabase(True, None, False, 0, connections), groups)

    def changed(self) -> None:
        """Forget what was found, because it has been changed, or is about to be."""
        self._found = None

    def adopted(self, stock_tag: str, tag: str, *, whole: bool) -> None:
        """Know, without another look, that what had the tag of the warm stock has another one.

        Args:
            stock_tag: The tag it had.
            tag: The tag it has.
            whole: Whether it was found finished.
        """
        self.whole = whole
        if self._found is None:
            return
        database, groups = self._found.database, self._found.groups
        if database is not None and database.ours and database.tag == stock_tag:
            database = replace(database, tag=tag)
        self._found = Found(
            database,
            {
                name: replace(role, tag=tag) if role.tag == stock_tag else role
                for name, role in groups.items()
            },
        )

    async def roles(self, names: Iterable[str]) -> dict[str, FoundRole]:
        """Return those of some roles that exist, by name."""
        cursor = await run(self.connection, sql.ROLES(list(names)))
        return _by_name(await cursor.fetchall())


async def lock_and_look(connection: AsyncConnection, database: str) -> Found:
    """Wait for the lock of a database, and see what is there once it has been granted.

    Raises:
        psycopg.errors.LockNotAvailable: Another session is at work there, and not frozen.
    """

    async def take() -> Found:
        cursor = await run(connection, sql.lock(database), *_questions(database))
        cursor.nextset()
        return await _answers(cursor)

    return await _insisting(connection, database, take)


async def _insisting(
    connection: AsyncConnection, database: str, take: Callable[[], Awaitable[T]]
) -> T:
    """Wait for the lock of a database, and take it from a holder that is frozen."""
    for _ in range(LOCK_ROUNDS - 1):
        try:
            return await take()
        except LockNotAvailable:
            key = sql.lock_key(database)
            await connection.execute(sql.END_FROZEN_HOLDER, [key, FROZEN_AFTER])
    return await take()


def _questions(database: str) -> tuple[Composed, Composed]:
    owner = owner_name(database)
    return sql.DATABASE(database, owner), sql.ROLES([database, owner])


async def _answers(cursor: AsyncCursor[TupleRow]) -> Found:
    row = await cursor.fetchone()
    cursor.nextset()
    return Found(
        database=None if row is None else FoundDatabase(*row),
        groups=_by_name(await cursor.fetchall()),
    )


def _by_name(rows: Iterable[TupleRow]) -> dict[str, FoundRole]:
    return {role.name: role for role in (FoundRole(*row) for row in rows)}
