"""The configured servers, with their engines: what serving and the command line have in common."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from broker.domain.database import Endpoint
from broker.domain.errors import BrokerError
from broker.domain.placement import Capacity
from broker.postgres.admin_login import AdminLogin
from broker.postgres.engine import PostgresEngine
from broker.providers.shared import SharedServer, SharedServers
from broker.store.encryption import KeyRing
from broker.store.store import PostgresStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.config import ServerSettings, Settings
    from broker.domain.credentials import Secret
    from broker.store.admin_passwords import AdminPasswords
    from broker.store.servers import ServerRecords

LOOK_EVERY = 10.0
"""Seconds after which a serving process asks every server again how it is."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The servers of a broker.

    Attributes:
        servers: For placement and for the engines.
        engines: To be opened and closed.
        records: What the state knows about servers.
    """

    servers: SharedServers
    engines: tuple[PostgresEngine, ...]
    records: ServerRecords

    @classmethod
    def of(cls, settings: Settings, store: PostgresStore) -> Fleet:
        """Put the servers together; nothing is connected yet.

        Args:
            settings: Of the broker.
            store: Knows what the passwords of the broker's roles were changed to.
        """
        engines = tuple(
            PostgresEngine(
                server.name,
                server.admin_dsn.reveal(),
                pool_size=settings.server_connections,
                stored_passwords=partial(stored_passwords, store.admin_passwords, server.name),
            )
            for server in settings.servers
        )
        shared = map(_shared_server, settings.servers, engines)
        return cls(SharedServers(shared, settings.catalog), engines, store.servers)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Keep the engines open until the context is left."""
        async with AsyncExitStack() as stack:
            for engine in self.engines:
                stack.push_async_callback(engine.close)
                await engine.open()
            yield

    async def look(self) -> None:
        """Ask all servers how they are, and read what their databases occupied when measured."""
        await self.servers.look()
        self.servers.remember_sizes(await self.records.measured())

    async def _watch(self) -> None:
        while True:
            # What is known of the sizes lasts while the state is away.
            with suppress(BrokerError):
                await self.look()
            await asyncio.sleep(LOOK_EVERY)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Look at the servers from time to time until the context is left."""
        watch = asyncio.create_task(self._watch(), name="watch servers")
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.wait({watch})


def key_ring(settings: Settings) -> KeyRing:
    """Return the encryption keys."""
    return KeyRing([(key.id, key.key) for key in settings.encryption_keys])


@asynccontextmanager
async def operated(settings: Settings) -> AsyncIterator[tuple[Fleet, PostgresStore]]:
    """Open servers and state for a command of the operator's, until the context is left.

    Raises:
        StateUnavailable: The state database cannot be reached, or its schema is not the code's.
    """
    # A command says itself, and once, which server does not answer.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    keys = key_ring(settings)
    store = PostgresStore(settings.state_dsn.reveal(), keys)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        await store.check()
        fleet = Fleet.of(settings, store)
        await stack.enter_async_context(fleet.opened())
        yield fleet, store


def admin_login(server: ServerSettings, records: AdminPasswords) -> AdminLogin:
    """Return how the broker's role logs in to a server, whatever its password is by now."""
    return AdminLogin(
        server.name, server.admin_dsn.reveal(), partial(stored_passwords, records, server.name)
    )


async def stored_passwords(records: AdminPasswords, server: str, role: str) -> list[Secret]:
    """Read what a role's password was changed to, what it surely was changed to first."""
    recorded = await records.passwords(server, role)
    return [p.secret for p in sorted(recorded, key=lambda p: not p.confirmed)]


def _shared_server(server: ServerSettings, engine: PostgresEngine) -> SharedServer:
    return SharedServer(
        name=server.name,
        pool=server.pool,
        endpoint=Endpoint(
            host=server.host,
            port=server.port,
            sslmode=server.sslmode,
            ca_certificate=server.ca_certificate,
        ),
        engine=engine,
        capacity=Capacity(
            databases=server.max_databases,
            connections=server.max_connections,
            storage=server.max_storage,
        ),
        labels=server.labels,
    )
