"""From settings to an application that can be served."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from broker.api.app import create_app
from broker.api.authentication import Authenticator
from broker.api.catalog import CatalogDocument
from broker.api.parameters import check_parameters
from broker.bootstrap.fleet import Fleet, key_ring
from broker.bootstrap.servers import log_findings
from broker.bootstrap.starting import compare_at_start
from broker.bootstrap.upkeep import chores, now, warm_stock
from broker.operations.jobs import Worker
from broker.operations.purge import Purge
from broker.operations.runner import OperationRunner
from broker.service.context import Broker
from broker.store.connect import connection_options
from broker.store.queue import QUEUE_SCHEMA
from broker.store.store import PostgresStore
from broker.store.tags import EncryptedTags

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from broker.config import Settings
    from broker.operations.warm import WarmStock

log = structlog.get_logger()

RETRY_STEPS_FOR = timedelta(seconds=5)
"""How long a step is repeated while its server is down, full or locked."""

POLL_JOBS_EVERY = timedelta(seconds=1)
"""How often every replica looks for jobs that are due."""

DRAIN_WITHIN = timedelta(seconds=10)
"""How long operations that no request waits for get at shutdown, once the requests are done."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """A broker, put together but not opened; the application's lifespan opens and closes it.

    Attributes:
        app: The ASGI application.
        readiness: Whether the state can be used.
    """

    app: FastAPI
    readiness: Readiness


class Readiness:
    """Whether the state database can be used: reached, of our schema, and every secret readable."""

    def __init__(self, store: PostgresStore) -> None:
        self._store = store
        self._keys_verified = False

    async def check(self) -> None:
        """Look, in one round trip once the keys have been verified.

        Raises:
            StateUnavailable: It cannot be reached, or its schema is not the code's.
            PermanentFailure: It holds secrets of a key that is missing or another one.
        """
        await self._store.check()
        if not self._keys_verified:
            await self._store.verify_keys()
            self._keys_verified = True


@dataclass(frozen=True, slots=True)
class Wiring:
    """What carries out verbs, for the application and for commands alike; nothing is connected yet.

    Attributes:
        broker: The verbs' collaborators.
        store: The state.
        runner: Carries out recorded operations.
        purge: Drops what is kept of deleted instances.
        fleet: The servers.
        stock: Keeps the warm stock.
    """

    broker: Broker
    store: PostgresStore
    runner: OperationRunner
    purge: Purge
    fleet: Fleet
    stock: WarmStock

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Let connections be made until the context is left; then see running operations end."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.store.close)
            await stack.enter_async_context(self.fleet.opened())
            yield
            unfinished = await self.runner.drain(within=DRAIN_WITHIN)
            if unfinished:
                log.warning("operations left to be taken over", count=unfinished)


def wire(settings: Settings) -> Wiring:
    """Put together what carries out verbs."""
    keys = key_ring(settings)
    store = PostgresStore(settings.state_dsn.reveal(), keys)
    fleet = Fleet.of(settings, store)
    tags = EncryptedTags(keys)
    stock = warm_stock(settings, store, fleet.servers)
    runner = OperationRunner(
        store=store,
        servers=fleet.servers,
        catalog=settings.catalog,
        tags=tags,
        lease=settings.lease,
        retry_for=RETRY_STEPS_FOR,
        go_on_for=settings.retry_for,
    )
    broker = Broker(
        catalog=settings.catalog,
        store=store,
        servers=fleet.servers,
        runner=runner,
        clock=now,
        check_parameters=check_parameters,
        window=settings.sync_window,
        lease=settings.lease,
        tag_key_id=keys.ids[0],
        stock=stock,
    )
    return Wiring(broker, store, runner, Purge(broker, tags), fleet, stock)


def assemble(settings: Settings) -> Assembly:
    """Put a broker together; nothing is connected yet."""
    wiring = wire(settings)
    readiness = Readiness(wiring.store)
    worker = Worker(
        dsn=settings.state_dsn.reveal(),
        options=connection_options(),
        schema=QUEUE_SCHEMA,
        runner=wiring.runner,
        defer_missing=lambda: wiring.store.defer_missing(settings.lease),
        chores=chores(settings, wiring),
        lease=settings.lease,
        poll_every=POLL_JOBS_EVERY,
        stop_within=DRAIN_WITHIN,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with wiring.opened(), AsyncExitStack() as stack:
            await stack.enter_async_context(wiring.fleet.watched())
            # Beside everything else: a server that does not answer delays nobody's requests.
            looking = asyncio.create_task(
                log_findings(settings.servers, wiring.store.admin_passwords)
            )
            stack.callback(looking.cancel)
            comparing = asyncio.create_task(compare_at_start(settings, wiring.fleet, wiring.store))
            stack.callback(comparing.cancel)
            async with worker.running(), wiring.stock.kept():
                yield

    app = create_app(
        broker=wiring.broker,
        catalog=CatalogDocument.of(settings.catalog, modified=settings.catalog_modified),
        authenticator=Authenticator(
            (platform.name, platform.username, password.reveal())
            for platform in settings.platforms
            for password in platform.passwords
        ),
        check_ready=readiness.check,
        max_body_bytes=settings.max_body_bytes,
        lifespan=lifespan,
    )
    return Assembly(app, readiness)
