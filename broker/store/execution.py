"""Running the store's statements: SQLAlchemy has built them, the driver runs them.

Belongs here: a statement's text and constants, and what it has found. See decision 40 for why
SQLAlchemy's own execution is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy.dialects.postgresql import psycopg as postgresql
from sqlalchemy.sql.compiler import SQLCompiler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from psycopg import AsyncConnection, AsyncCursor
    from sqlalchemy.sql.elements import ClauseElement

Row = Any
"""A row: a named tuple of its columns."""

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]  # it has no types


@dataclass(frozen=True, slots=True)
class Found:
    """What a statement has found.

    Attributes:
        rows: The rows it returned.
        rowcount: How many it returned or changed.
    """

    rows: Sequence[Row]
    rowcount: int

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def first(self) -> Row | None:
        """Return the first row, if there is any."""
        return self.rows[0] if self.rows else None

    def one_or_none(self) -> Row | None:
        """Return the only row, if there is one.

        Raises:
            AssertionError: There are several.
        """
        if len(self.rows) > 1:
            raise AssertionError(f"expected one row, found {len(self.rows)}")
        return self.first()

    def one(self) -> Row:
        """Return the only row.

        Raises:
            AssertionError: There is not just one.
        """
        row = self.one_or_none()
        if row is None:
            raise AssertionError("expected one row, found none")
        return row

    def mappings(self) -> Iterator[dict[str, Any]]:
        """Return the rows as dictionaries by column name."""
        return (row._asdict() for row in self.rows)


class Execute(Protocol):
    """Runs a statement, in a transaction or on its own."""

    async def __call__(
        self,
        statement: ClauseElement,
        values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        /,
    ) -> Found:
        """Run a statement with its parameters, or once for each of several sets of them."""


async def execute(
    connection: AsyncConnection[Row],
    statement: ClauseElement,
    values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
) -> Found:
    """Run a statement on a connection.

    Args:
        connection: Makes named tuples of rows.
        statement: What to run.
        values: Its parameters, or several sets of them.

    Raises:
        psycopg.Error: The driver's.
    """
    if isinstance(values, Sequence):
        text, constants = _compiled(statement, frozenset(values[0]))
        async with connection.cursor() as cursor:
            await cursor.executemany(text, [{**constants, **each} for each in values])
            return Found((), cursor.rowcount)
    given = values or {}
    text, constants = _compiled(statement, frozenset(given))
    return await _found(await connection.execute(text, {**constants, **given}))


async def _found(cursor: AsyncCursor[Row]) -> Found:
    rows = await cursor.fetchall() if cursor.description else ()
    return Found(rows, cursor.rowcount)


@lru_cache(maxsize=512)
def _compiled(statement: ClauseElement, names: frozenset[str]) -> tuple[bytes, dict[str, Any]]:
    """Return a statement's text and the parameters that are part of it.

    Args:
        statement: Built once; its identity is what it is remembered by.
        names: Of the parameters it is given. An INSERT or UPDATE that names no columns has these.
    """
    compiled = statement.compile(dialect=_DIALECT, column_keys=sorted(names))
    if not isinstance(compiled, SQLCompiler):
        raise TypeError(f"{statement!r} is no statement with parameters")
    constants = {
        name: value
        for name, value in compiled.params.items()
        # What is required and not given is to be missed by the driver, and not to become NULL.
        if name not in names and not compiled.binds[name].required
    }
    return str(compiled).encode(), constants
