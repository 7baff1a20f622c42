"""What is not in the state: gone, unless it is the state that is lost."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from broker.domain.errors import Gone, TemporaryFailure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.service.context import Broker


@asynccontextmanager
async def certainly_gone(broker: Broker) -> AsyncIterator[None]:
    """Let nobody hear that something is gone while the records look lost.

    A platform that hears it forgets the instance, and nobody would ever delete its database. What
    the last look at each server has found is asked, and only when there is no record.

    Raises:
        TemporaryFailure: It would have been ``Gone``, and a server holds more than is known.
    """
    try:
        yield
    except Gone:
        if await broker.store.drift.looks_lost(broker.servers.names):
            raise TemporaryFailure(
                "The broker has no record of this, and its records look incomplete: its operator "
                "has to recover them first. Nothing has been changed; repeat the deletion later."
            ) from None
        raise
