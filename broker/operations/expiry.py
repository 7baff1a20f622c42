"""Credentials with an end, in the periodic work.

PostgreSQL lets nobody in with a password whose ``VALID UNTIL`` has passed, but sessions that are
open then stay open, and the role stays.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from broker.domain.errors import BrokerError, TemporaryFailure
from broker.service.context import Progress
from broker.service.expiry import expire

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from broker.domain.instance import BindingKey
    from broker.service.context import Broker
    from broker.service.expiry import ExpiryRecords

log = structlog.get_logger()

PER_SERVER = 100
"""The most bindings of one server that one run unbinds."""


@dataclass(frozen=True, slots=True)
class ExpiryUpkeep:
    """Ends the sessions of expired logins, and unbinds them later; any replica may run it.

    Two chores, so that sessions are ended in time however long unbinding takes.

    Attributes:
        broker: The verbs' collaborators.
        records: The expired bindings.
        keep: How long an expired binding is kept for its platform to delete it.
    """

    broker: Broker
    records: ExpiryRecords
    keep: timedelta

    async def end_sessions(self) -> None:
        """End the sessions of logins whose time is over, on all servers at once."""
        servers = await self.records.servers(self.broker.clock())
        await asyncio.gather(*map(self._end_sessions, servers))

    async def unbind(self) -> None:
        """Unbind what has been over for long enough, on all servers at once."""
        before = self.broker.clock() - self.keep
        found = await self.records.bindings(before, per_server=PER_SERVER)
        await asyncio.gather(
            *(self._unbind(server, keys, before) for server, keys in found.items())
        )

    async def _unbind(self, server: str, keys: Sequence[BindingKey], before: datetime) -> None:
        """Unbind one after the other, until the server keeps us waiting."""
        for key in keys:
            subject = {
                "server": server,
                "platform": key.instance.platform,
                "instance": key.instance.instance_id,
                "binding": key.binding_id,
            }
            try:
                outcome = await expire(self.broker, key, before=before)
            except BrokerError as exc:
                log.warning("expired binding not removed", **subject, reason=exc.description)
                if isinstance(exc, TemporaryFailure):
                    return
                continue
            if outcome is None:
                continue
            if outcome.progress is not Progress.DONE:
                log.info("expired binding is being removed", **subject)
                return
            log.info("expired binding removed", **subject)

    async def _end_sessions(self, server: str) -> None:
        try:
            ended = await self.broker.servers.engine(server).end_expired_sessions()
        except BrokerError as exc:
            log.warning("expired sessions not ended", server=server, reason=exc.description)
            return
        for login, sessions in ended.items():
            log.info("expired sessions ended", server=server, login=login, count=sessions)
