"""Leases: an operation belongs to one process for a limited time, which that process extends.

Belongs here: keeping a lease, knowing that it is lost, and the pauses between two attempts.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from broker.domain.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from datetime import timedelta

    from broker.domain.operation import Operation
    from broker.service.ports import Store

log = structlog.get_logger()

_FIRST_DELAY = 0.05
_LONGEST_DELAY = 2.0


class LeaseLost(Exception):
    """Another process has taken this operation over; whatever we did, it will see."""


@dataclass(slots=True)
class Lease:
    """Whether the operation is still ours.

    Attributes:
        until: Until when, by the monotonic clock, which goes on while a process is frozen.
        lost: Another process has it.
    """

    until: float
    lost: bool = False

    def check(self) -> None:
        """Make sure that it is, as far as this process can know.

        Raises:
            LeaseLost: It is not, or may not be any more.
        """
        if self.lost or time.monotonic() > self.until:
            raise LeaseLost


@asynccontextmanager
async def kept(operation: Operation, *, store: Store, lease: timedelta) -> AsyncIterator[Lease]:
    """Keep the lease of an operation for as long as the body runs.

    Args:
        operation: Leased to us just now.
        store: Where the lease is.
        lease: For how long.
    """
    seconds = lease.total_seconds()
    held = Lease(until=time.monotonic() + seconds)

    async def beat() -> None:
        while not held.lost:
            await asyncio.sleep(seconds / 3)
            asked = time.monotonic()
            try:
                held.lost = not await store.extend_lease(operation, lease=lease)
            except BrokerError as exc:
                log.warning("lease not extended", reason=exc.description)
            else:
                held.until = asked + seconds

    heartbeat = asyncio.create_task(beat())
    try:
        yield held
    finally:
        heartbeat.cancel()


def pauses(limit: timedelta) -> Iterator[float | None]:
    """Yield growing, jittered pauses in seconds, up to the limit in all; ``None`` ends them."""
    deadline = time.monotonic() + limit.total_seconds()
    delay = _FIRST_DELAY
    while (left := deadline - time.monotonic()) > 0:
        yield min(delay * random.uniform(0.5, 1), left)  # noqa: S311 - spreads, and keeps no secret
        delay = min(delay * 2, _LONGEST_DELAY)
    yield None
