"""Carrying out recorded operations, as protocols; ``broker/operations`` supplies them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from broker.domain.operation import Operation, Work


class Clock(Protocol):
    """The time, so that tests can choose it."""

    def __call__(self) -> datetime:
        """Return the time with its zone (UTC)."""


class Runner(Protocol):
    """Carries out recorded operations."""

    async def run(self, work: Work, *, window: timedelta, patient: bool) -> Operation:
        """Start a recorded operation and wait for its end, at most as long as the window.

        Args:
            work: The operation, recorded and leased to us.
            window: How long to wait; it goes on afterwards.
            patient: Whether the caller will poll. Then a server that is down, full or locked makes
                the operation take long instead of fail, and is not waited for here.

        Returns:
            The operation as it is then: finished, or still in progress.

        Raises:
            BrokerError: It failed within the window.
            OutcomeUnknown: It is an update that may have been made; it stays in progress.
        """

    async def wait(self, operation: Operation, *, window: timedelta, patient: bool) -> Operation:
        """Wait for the end of an operation that some process runs; otherwise like ``run``."""
