"""What a server holds of the broker's, by the COMMENTs it carries."""

from __future__ import annotations

from dataclasses import dataclass

QUARANTINED = "quarantined"
"""The last word of the COMMENT on what was closed because no record knows it."""


def is_quarantined(comment: str | None) -> bool:
    """Tell whether a COMMENT says that a database or login was closed by quarantine."""
    return comment is not None and comment.endswith(f" {QUARANTINED}")


@dataclass(frozen=True, slots=True)
class ListedDatabase:
    """A database of the broker's role.

    Attributes:
        name: Its name.
        comment: Its COMMENT.
        connectable: Whether it accepts connections at all.
        half_dropped: Whether a DROP of it was interrupted: it can only be dropped again.
    """

    name: str
    comment: str | None
    connectable: bool
    half_dropped: bool


@dataclass(frozen=True, slots=True)
class ListedRole:
    """A role with a COMMENT like the broker's.

    Attributes:
        name: Its name.
        comment: Its COMMENT.
        can_login: Whether it may log in.
        groups: The roles it is a direct member of.
    """

    name: str
    comment: str
    can_login: bool
    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Inventory:
    """What was found on one server.

    Attributes:
        databases: By name.
        roles: By name.
    """

    databases: dict[str, ListedDatabase]
    roles: dict[str, ListedRole]
