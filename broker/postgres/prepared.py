"""Statements that a connection prepares once and runs many times.

Belongs here: how that is done. To plan a look at the catalogs takes longer than to run it, and
what the driver prepares does not last: it forgets everything with each ALTER and DROP, and hardly
any work of the engine is without one.

See the PostgreSQL manual, "PREPARE" and "EXECUTE".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.sql import SQL, Composed, Identifier, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import LiteralString

Value = str | int | list[str] | list[int]


class Prepared:
    """One statement.

    Args:
        name: What the connection calls it.
        types: Of its parameters, in order.
        text: The statement; its parameters are ``$1``, ``$2`` and so on.
    """

    def __init__(
        self, name: LiteralString, types: Sequence[LiteralString], text: LiteralString
    ) -> None:
        self._name = Identifier(name)
        self.preparation = SQL("PREPARE {} ({}) AS {}").format(
            self._name, SQL(", ").join(map(SQL, types)), SQL(text)
        )
        """Makes the statement known to a connection."""

    def __call__(self, *values: Value) -> Composed:
        """Return the statement that runs it, to be sent alone or with others."""
        return SQL("EXECUTE {} ({})").format(self._name, SQL(", ").join(map(Literal, values)))
