"""What commands work with that do something once: the state and the servers, without an API."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.bootstrap.assembly import connect
from broker.store.encryption import KeyRing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.config import Settings
    from broker.providers.shared import SharedServers
    from broker.store.store import PostgresStore


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a command works with.

    Attributes:
        settings: As given.
        keys: The encryption keys.
        store: The state, found usable.
        servers: The configured servers.
    """

    settings: Settings
    keys: KeyRing
    store: PostgresStore
    servers: SharedServers


@asynccontextmanager
async def workplace(settings: Settings) -> AsyncIterator[Workplace]:
    """Open what a command works with.

    Raises:
        StateUnavailable: The state database cannot be reached, or its schema is not the code's.
        PermanentFailure: It holds secrets of an encryption key that is missing or another one.
    """
    keys = KeyRing([(key.id, key.key) for key in settings.encryption_keys])
    store, engines, servers = connect(settings, keys)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        await store.check()
        await store.verify_keys()
        for engine in engines:
            stack.push_async_callback(engine.close)
            await engine.open()
        yield Workplace(settings, keys, store, servers)
