"""What servers held a moment ago, for placements that need no exact count.

Where no capacity is configured, the count only serves to spread databases, and with many instances
it is the dearest part of recording one. So it is read from time to time, and what this process adds
in between is added to it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from broker.domain.placement import Occupancy, Placed

if TYPE_CHECKING:
    from broker.domain.instance import Instance

MOST_RECENT = 5.0
"""Seconds that a count may be old."""


class RecentOccupancy:
    """The last count, with what was added since."""

    def __init__(self) -> None:
        self._counted: Occupancy | None = None
        self._added: dict[tuple[str, str, str], int] = {}
        self._at = 0.0

    def remember(self, counted: Occupancy) -> None:
        """Take a new count."""
        self._counted, self._at = counted, time.monotonic()
        self._added.clear()

    def add(self, instance: Instance) -> None:
        """Add an instance; one that is not recorded after all is forgotten with the next count."""
        key = (instance.server, instance.service_id, instance.plan_id)
        self._added[key] = self._added.get(key, 0) + 1

    def counted(self) -> Occupancy | None:
        """Return the count, if it is recent enough; its cordons are as old as it."""
        if self._counted is None or time.monotonic() - self._at > MOST_RECENT:
            return None
        added = tuple(Placed(*key, number, number) for key, number in self._added.items())
        return Occupancy(self._counted.placed + added, self._counted.cordoned)
