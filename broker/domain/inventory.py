"""What a server holds of the broker's, by the COMMENTs it carries; and what the state holds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.domain.catalog import Catalog

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


@dataclass(frozen=True, slots=True)
class Traits:
    """What a server is, whatever it is called.

    Attributes:
        identity: Equal for the same running server only.
        extensions: Those that the broker's role can install.
    """

    identity: str
    extensions: frozenset[str]


@dataclass(frozen=True, slots=True)
class InstanceCount:
    """How many instances of a plan a platform has.

    Attributes:
        platform: The platform's name.
        service_id: Their offering.
        plan_id: Their plan.
        total: How many.
    """

    platform: str
    service_id: str
    plan_id: str
    total: int


def without_plan(counts: Iterable[InstanceCount], catalog: Catalog) -> Counter[str]:
    """Count the instances whose plan is not in the catalog, by the plan's id."""
    found: Counter[str] = Counter()
    for count in counts:
        if catalog.find_plan(count.service_id, count.plan_id) is None:
            found[count.plan_id] += count.total
    return found


def without_platform(counts: Iterable[InstanceCount], platforms: Iterable[str]) -> Counter[str]:
    """Count the instances whose platform is not one of these, by the platform's name."""
    known, found = set(platforms), Counter[str]()
    for count in counts:
        if count.platform not in known:
            found[count.platform] += count.total
    return found


def one_server(traits: Mapping[str, Traits]) -> list[list[str]]:
    """Return the names that lead to the same server, for each server that has several.

    Args:
        traits: Of the servers, by name.
    """
    names: dict[str, list[str]] = {}
    for name, found in traits.items():
        names.setdefault(found.identity, []).append(name)
    return [same for same in names.values() if len(same) > 1]
