"""The statements that decide which of the two group roles a login acts through.

Belongs here: SQL under the rules of ``statements.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.sql import SQL, Composed, Identifier, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator


def let_write(login: str, *, database: str, owner: str) -> Iterator[Composed]:
    """Make a login a member of the owner role, acting as it in every session."""
    yield _grant(owner, login)
    yield _revoke(database, login)
    yield _setting(login, database, SQL("SET role = {}").format(Literal(owner)))
    yield _setting(login, database, SQL("RESET default_transaction_read_only"))


def let_read_only(login: str, *, database: str, owner: str) -> Iterator[Composed]:
    """Make a login a member of the read-only group role, and of no other."""
    yield _grant(database, login)
    yield _revoke(owner, login)
    yield _setting(login, database, SQL("RESET role"))
    # A convenience: an application is told that it may only read, not that something is forbidden.
    yield _setting(login, database, SQL("SET default_transaction_read_only = on"))


def _grant(group: str, login: str) -> Composed:
    return SQL("GRANT {} TO {}").format(Identifier(group), Identifier(login))


def _revoke(group: str, login: str) -> Composed:
    return SQL("REVOKE {} FROM {}").format(Identifier(group), Identifier(login))


def _setting(login: str, database: str, setting: SQL | Composed) -> Composed:
    return SQL("ALTER ROLE {} IN DATABASE {} ").format(
        Identifier(login), Identifier(database)
    ) + Composed([setting])
