"""Credentials with an end, in the periodic work.

PostgreSQL lets nobody in with a password whose ``VALID UNTIL`` has passed, but sessions that are
open then stay open, and the role stays.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from broker.domain.errors import BrokerError
from broker.service.expiry import expire

if TYPE_CHECKING:
    from datetime import timedelta

    from broker.service.context import Broker
    from broker.service.expiry import ExpiryRecords

log = structlog.get_logger()

BATCH = 100
"""How many bindings are cleaned up at a time."""


@dataclass(frozen=True, slots=True)
class ExpiryUpkeep:
    """Ends the sessions of expired logins and unbinds them; any replica may run it.

    Attributes:
        broker: The verbs' collaborators.
        records: The expired bindings.
        keep: How long an expired binding is kept for its platform to delete it.
    """

    broker: Broker
    records: ExpiryRecords
    keep: timedelta

    async def run(self) -> None:
        """End sessions on all servers at once, then unbind what has been over for long enough."""
        now = self.broker.clock()
        await asyncio.gather(*map(self._end_sessions, await self.records.servers(now)))
        before = now - self.keep
        for key in await self.records.bindings(before, limit=BATCH):
            subject = {
                "platform": key.instance.platform,
                "instance": key.instance.instance_id,
                "binding": key.binding_id,
            }
            try:
                if await expire(self.broker, key, before=before):
                    log.info("expired binding removed", **subject)
            except BrokerError as exc:
                log.warning("expired binding not removed", **subject, reason=exc.description)

    async def _end_sessions(self, server: str) -> None:
        try:
            ended = await self.broker.servers.engine(server).end_expired_sessions()
        except BrokerError as exc:
            log.warning("expired sessions not ended", server=server, reason=exc.description)
            return
        if ended:
            log.info("expired sessions ended", server=server, count=ended)
