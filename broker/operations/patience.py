"""How long an operation is tried again while its server keeps it waiting, and who is told of it.

Belongs here: what follows from one attempt that did not succeed, and may succeed later.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from broker.domain import errors
from broker.domain.operation import OperationKind

if TYPE_CHECKING:
    import asyncio
    from datetime import timedelta

    from broker.domain.operation import Work
    from broker.service.ports import Store

log = structlog.get_logger()

TELL_EVERY = 60.0
"""Seconds between two log lines about one operation: there may be many."""


class Patience:
    """What is left of the patience with one operation.

    Args:
        work: The operation.
        store: For whoever polls it to read what it is waiting for.
        retry_for: How long it may take before whoever polls is told so.
        held_up: Set from then on; ``None`` when nobody polls.

    Attributes:
        unknown: It is an update, and an attempt that is over may have made it; nobody has asked
            the server since.
    """

    def __init__(
        self, work: Work, store: Store, *, retry_for: timedelta, held_up: asyncio.Event | None
    ) -> None:
        self.unknown = work.resumed and work.operation.kind is OperationKind.UPDATE
        self._work = work
        self._store = store
        self._retry_for = retry_for.total_seconds()
        self._held_up = held_up
        self._began = time.monotonic()
        self._attempts = 0
        self._told_log = -math.inf
        self._told_user = ""

    def reason(self, failure: errors.TemporaryFailure) -> errors.TemporaryFailure:
        """Return what an attempt that failed comes to for whoever waits for the operation."""
        if not self.unknown:
            return failure
        return errors.OutcomeUnknown(
            f"The PostgreSQL server {self._work.instance.server!r} has to say whether the change "
            "was made, and cannot be asked at the moment. This goes on by itself."
        )

    async def allows_another(self, failure: errors.TemporaryFailure) -> bool:
        """Tell whether to try again after an attempt that failed, and tell everybody why."""
        self._attempts += 1
        waited = time.monotonic() - self._began
        # A server that was away before is waited for by nobody; one that has just gone may be
        # restarting.
        hopeless = self._attempts == 1 and isinstance(failure, errors.ServerAway)
        if self.unknown or hopeless or waited > self._retry_for:
            await self._describe(self.reason(failure).description)
            if self._held_up is not None:
                self._held_up.set()
        if hopeless and self._held_up is None:
            return False
        self._log(waited, failure)
        return True

    async def _describe(self, reason: str) -> None:
        if reason == self._told_user:
            return
        with suppress(errors.BrokerError):
            await self._store.describe(self._work.operation, reason)
            self._told_user = reason

    def _log(self, waited: float, failure: errors.BrokerError) -> None:
        if waited - self._told_log < TELL_EVERY:
            return
        self._told_log = waited
        log.info(
            "operation will be tried again",
            **self._work.operation.log_fields,
            server=self._work.instance.server,
            attempts=self._attempts,
            reason=failure.description,
        )
