"""Telling the log that an operation is held up: now and then, for there may be many."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from broker.domain import errors
    from broker.domain.operation import Work

log = structlog.get_logger()

TELL_EVERY = 60.0
"""Seconds between two log lines about one operation."""


@dataclass(slots=True)
class Telling:
    """Tells the log that an operation is held up, now and then.

    Attributes:
        work: The operation.
        last: How many seconds it had waited when that was last told.
    """

    work: Work
    last: float = -math.inf

    def tell(self, attempts: int, waited: float, reason: errors.BrokerError) -> None:
        """Tell it if it was not told a short while ago.

        Args:
            attempts: How often it was tried.
            waited: Seconds since the first time.
            reason: Why it did not succeed.
        """
        if waited - self.last < TELL_EVERY:
            return
        self.last = waited
        log.info(
            "operation will be tried again",
            **self.work.operation.log_fields,
            server=self.work.instance.server,
            attempts=attempts,
            reason=reason.description,
        )
