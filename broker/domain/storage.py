"""Storage limits: when a database may be written to, given what it occupies.

::

               over the limit
    WITHIN ───────────────────────> FULL
       ^                             │  below 95 % of it, a larger plan, or writes allowed
       │   every login writes again  v
       └───────────────────────── RELEASING
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

RELEASE_BELOW = 0.95
"""Part of the limit below which a full database may be written to again.

A database right at its limit must not go back and forth: each change ends its sessions.
"""


class StorageState(StrEnum):
    """Whether a plan's storage limit lets an instance's bindings write."""

    WITHIN = "within"
    """They may, as far as each was made for it."""
    FULL = "full"
    """All are read-only."""
    RELEASING = "releasing"
    """They may again, and the server is being told."""


@dataclass(frozen=True, slots=True)
class StorageUse:
    """What a database was last seen to occupy.

    Attributes:
        used: Bytes.
        measured_at: When.
        writes_allowed_until: Until when an operator lets it write over the limit.
    """

    used: int
    measured_at: datetime
    writes_allowed_until: datetime | None = None


def next_state(
    state: StorageState, use: StorageUse, *, limit: int | None, now: datetime
) -> StorageState:
    """Decide what follows from a measurement.

    Args:
        state: What holds now.
        use: The measurement.
        limit: The plan's, in bytes; ``None`` is none.
        now: The time.
    """
    allowed = use.writes_allowed_until is not None and now < use.writes_allowed_until
    if limit is None or allowed:
        full = False
    elif state is StorageState.FULL:
        full = use.used >= RELEASE_BELOW * limit
    else:
        full = use.used > limit
    if full:
        return StorageState.FULL
    return StorageState.WITHIN if state is StorageState.WITHIN else StorageState.RELEASING


def notice(use: StorageUse | None, *, limit: int | None) -> str:
    """Tell the user of a full instance why nothing can be written, and what to do.

    Args:
        use: The last measurement.
        limit: The plan's, in bytes.
    """
    measured = "" if use is None else f" ({use.used:,} bytes when last measured)"
    allowed = "" if limit is None else f" of {limit:,} bytes"
    return (
        f"The database occupies more{measured} than the storage{allowed} of its plan, so all its "
        "bindings are read-only. Update the service instance to a larger plan, or ask the "
        "operator of this broker to allow writes for some time, and delete what is not needed."
    )
