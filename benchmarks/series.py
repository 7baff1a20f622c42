"""Measured times, and what is said about them."""

from __future__ import annotations

import math
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Series:
    """Times of the same thing, done many times.

    Attributes:
        seconds: How long each took.
        elapsed: How long all of them took together; less than the sum when they overlapped.
    """

    seconds: list[float] = field(default_factory=list)
    elapsed: float = 0.0

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def percentile_99(self) -> float:
        """Seconds; by the nearest rank, so below 100 values it is the largest."""
        ranked = sorted(self.seconds)
        return ranked[math.ceil(0.99 * len(ranked)) - 1]

    @property
    def rate(self) -> float:
        """How many a second."""
        return len(self.seconds) / self.elapsed

    @contextmanager
    def measured(self) -> Iterator[None]:
        """Measure the body; one that raises is not counted."""
        began = time.perf_counter()
        yield
        self.seconds.append(time.perf_counter() - began)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.

    Attributes:
        name: What was measured.
        broker: Through the broker.
        raw: The same by hand; ``None`` where there is nothing to compare with.
        paced: The number of a second says something: many at a time, or nothing else meanwhile.
        by_turns: The two ways were measured one right after the other, each time.
    """

    name: str
    broker: Series
    raw: Series | None = None
    paced: bool = False
    by_turns: bool = False

    @property
    def overhead(self) -> float | None:
        """Seconds the broker adds, at the median.

        Measured by turns, it is the median of what it added each time: a disk that is now quick and
        now slow is the same for both of one turn, and from one minute to the next is not.
        """
        if self.raw is None:
            return None
        if not self.by_turns:
            return self.broker.median - self.raw.median
        each = zip(self.broker.seconds, self.raw.seconds, strict=True)
        return statistics.median(broker - raw for broker, raw in each)

    @property
    def ratio(self) -> float | None:
        """How many times as long it takes through the broker, at the median."""
        return None if self.raw is None else self.broker.median / self.raw.median
