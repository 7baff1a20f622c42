"""From settings to an application that can be served."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from broker.api.app import create_app
from broker.api.authentication import Authenticator
from broker.api.catalog import CatalogDocument
from broker.api.parameters import check_parameters
from broker.bootstrap.fleet import Fleet
from broker.bootstrap.servers import log_findings
from broker.operations.jobs import Chore, Worker
from broker.operations.runner import OperationRunner
from broker.service.context import Broker
from broker.store.encryption import KeyRing
from broker.store.queue import QUEUE_SCHEMA
from broker.store.store import PostgresStore
from broker.store.tags import EncryptedTags

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import FastAPI

    from broker.config import Settings

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


def assemble(settings: Settings) -> Assembly:
    """Put a broker together; nothing is connected yet."""
    keys = KeyRing([(key.id, key.key) for key in settings.encryption_keys])
    store = PostgresStore(settings.state_dsn.reveal(), keys)
    readiness = Readiness(store)
    fleet = Fleet.of(settings)
    runner = OperationRunner(
        store=store,
        servers=fleet.servers,
        catalog=settings.catalog,
        tags=EncryptedTags(keys),
        lease=settings.lease,
        retry_for=RETRY_STEPS_FOR,
        go_on_for=settings.retry_for,
    )
    broker = Broker(
        catalog=settings.catalog,
        store=store,
        servers=fleet.servers,
        runner=runner,
        clock=_now,
        check_parameters=check_parameters,
        window=settings.sync_window,
        lease=settings.lease,
        tag_key_id=keys.ids[0],
    )

    worker = Worker(
        dsn=settings.state_dsn.reveal(),
        schema=QUEUE_SCHEMA,
        runner=runner,
        chores=_chores(settings, store),
        lease=settings.lease,
        poll_every=POLL_JOBS_EVERY,
        stop_within=DRAIN_WITHIN,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(store.close)
            await stack.enter_async_context(fleet.opened())
            await stack.enter_async_context(fleet.watched())
            # Beside everything else: a server that does not answer delays nobody's requests.
            looking = asyncio.create_task(log_findings(settings.servers))
            stack.callback(looking.cancel)
            async with worker.running():
                yield
            unfinished = await runner.drain(within=DRAIN_WITHIN)
            if unfinished:
                log.warning("operations left to be taken over", count=unfinished)

    app = create_app(
        broker=broker,
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


def _chores(settings: Settings, store: PostgresStore) -> tuple[Chore, ...]:
    """Return the periodic work, done by one replica at a time."""

    async def forget_operations() -> None:
        await store.forget_operations(settings.keep_operations)

    return (Chore("forget_operations", "*/10 * * * *", forget_operations),)


def _now() -> datetime:
    return datetime.now(UTC)
