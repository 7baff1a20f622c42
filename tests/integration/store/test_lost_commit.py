"""The answer to COMMIT is lost: the store finds out what became of the transaction."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from enum import Enum, auto
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from broker.domain.errors import StateUnavailable
from broker.domain.instance import Status
from broker.domain.names import database_name, owner_name
from broker.domain.warm import Location, WarmDatabase, WarmState
from broker.store import PostgresStore
from tests.integration.store.records import LEASE, a_key, an_instance, an_operation, record

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from collections.abc import AsyncIterator, Awaitable, Callable

    from broker.domain.instance import Instance
    from broker.domain.operation import Operation
    from broker.store import KeyRing


COMMIT = b"COMMIT\0"
"""In the request and in its answer, but not in ``BEGIN ISOLATION LEVEL READ COMMITTED``."""

HAND_OVER = b"WITH taken AS"
"""In the statement that hands a database of the warm stock over, a transaction of its own."""

RECORD_UNSEEN = b"INSERT INTO pgbroker.instances"
"""In the statement that records an instance and its operation, a transaction of its own, too."""

ONE_ROW = b"SELECT 1\0"
"""In the answers of both."""


class Fault(Enum):
    """What happens to a COMMIT."""

    ANSWER_LOST = auto()
    """The server carries it out, the client's connection ends before the answer."""
    REQUEST_LOST = auto()
    """Both connections end before the server has it."""
    NETWORK_LOST = auto()
    """As ``ANSWER_LOST``, and nobody is or gets connected afterwards."""


class Proxy:
    """Passes bytes between clients and a server, until the first COMMIT after ``fault`` was set.

    Attributes:
        fault: What happens to it.
        struck: It has happened.
        meanwhile: What else happens before the client's connection ends.
        request: What tells a COMMIT, or another statement that is to be hurt.
        answer: What tells that it was carried out.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._clients: set[asyncio.Task[None]] = set()
        self._writers: set[StreamWriter] = set()
        self.fault: Fault | None = None
        self.struck = asyncio.Event()
        self.meanwhile: Callable[[], Awaitable[None]] | None = None
        self.request, self.answer = COMMIT, COMMIT

    def accept(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one client in a task of its own."""
        self._clients.add(asyncio.create_task(self._serve(reader, writer)))

    async def settled(self) -> None:
        """Wait until all clients have gone."""
        await asyncio.gather(*self._clients)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        async with _closing(writer):
            if self.fault is Fault.NETWORK_LOST and self.struck.is_set():
                return
            self._writers.add(writer)
            upstream, to_upstream = await self._connected()
            async with _closing(to_upstream):
                answers = asyncio.create_task(_copy(upstream, writer))
                while data := await reader.read(65536):
                    hurt = self.fault is not None and self.request in data
                    if hurt and not self.struck.is_set():
                        self._strike()
                        break
                    to_upstream.write(data)
                answers.cancel()
                with suppress(asyncio.CancelledError):
                    await answers
                if data and self.fault is not Fault.REQUEST_LOST:
                    to_upstream.write(data)
                    await upstream.readuntil(self.answer)
                if data and self.meanwhile is not None:
                    await self.meanwhile()

    async def _connected(self) -> tuple[StreamReader, StreamWriter]:
        host, port = self._server
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    def _strike(self) -> None:
        self.struck.set()
        if self.fault is Fault.NETWORK_LOST:
            for writer in self._writers:
                writer.close()


@asynccontextmanager
async def _closing(writer: StreamWriter) -> AsyncIterator[None]:
    try:
        yield
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _copy(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def through_proxy(dsn: str) -> AsyncIterator[tuple[Proxy, str]]:
    """Yield a proxy before the server of a DSN, and the DSN that leads through it."""
    parts = conninfo_to_dict(dsn)
    proxy = Proxy(str(parts["host"]), int(str(parts["port"])))
    async with await asyncio.start_server(proxy.accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        unencrypted = {"sslmode": "disable", "gssencmode": "disable"}
        yield proxy, make_conninfo(dsn, host="127.0.0.1", port=port, **unencrypted)
        await proxy.settled()


@pytest.fixture
async def proxied(state_dsn: str, keys: KeyRing) -> AsyncIterator[tuple[Proxy, PostgresStore]]:
    """Return a proxy and a store that reaches its state database through it."""
    async with through_proxy(state_dsn) as (proxy, dsn):
        store = PostgresStore(dsn, keys)
        # Setting up a connection ends with a COMMIT, too, and is not what the tests are about.
        await store.check()
        await record(store)
        yield proxy, store
        await store.close()


async def test_a_recording_that_was_committed_counts(
    proxied: tuple[Proxy, PostgresStore], store: PostgresStore
) -> None:
    """When only the answer was lost, recording an operation succeeds as if nothing happened."""
    proxy, proxied_store = proxied
    instance = an_instance()
    operation = an_operation(instance.key)
    proxy.fault = Fault.ANSWER_LOST
    await record(proxied_store, instance, operation)
    assert proxy.struck.is_set()
    assert await store.instance(instance.key) == instance


async def test_an_end_that_was_committed_counts(
    proxied: tuple[Proxy, PostgresStore], store: PostgresStore
) -> None:
    """When only the answer was lost, finishing an operation succeeds as if nothing happened."""
    proxy, proxied_store = proxied
    operation = an_operation(a_key())
    await record(proxied_store, operation)
    proxy.fault = Fault.ANSWER_LOST
    async with proxied_store.transaction() as state:
        assert await state.finish_operation(operation.succeeded())
    assert proxy.struck.is_set()
    assert await store.operation(operation.id) == operation.succeeded()


async def test_a_commit_that_never_arrived_changes_nothing(
    proxied: tuple[Proxy, PostgresStore], store: PostgresStore
) -> None:
    """When the server took the transaction back, the caller is told to try again, and can."""
    proxy, proxied_store = proxied
    instance = an_instance()
    operation = an_operation(instance.key)
    proxy.fault = Fault.REQUEST_LOST
    with pytest.raises(StateUnavailable, match="nothing has been changed"):
        await record(proxied_store, instance, operation)
    assert await store.instance(instance.key) is None
    await record(proxied_store, instance, operation)


async def test_a_commit_nobody_can_tell_about_is_said_to_be_so(
    proxied: tuple[Proxy, PostgresStore], store: PostgresStore
) -> None:
    """With the network gone, the message does not claim that nothing was changed."""
    proxy, proxied_store = proxied
    operation = an_operation(a_key())
    proxy.fault = Fault.NETWORK_LOST
    with pytest.raises(StateUnavailable, match="cannot be told yet"):
        await record(proxied_store, operation)
    assert await store.operation(operation.id) == operation


async def _recorded_unseen(proxied: tuple[Proxy, PostgresStore], fault: Fault) -> Operation:
    """Record a new instance without a look first, while that happens to the statement."""
    proxy, proxied_store = proxied
    instance = an_instance()
    operation = an_operation(instance.key)
    proxy.request, proxy.answer, proxy.fault = RECORD_UNSEEN, ONE_ROW, fault
    assert await proxied_store.record_new(operation, instance, lease=LEASE)
    assert proxy.struck.is_set()
    return operation


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.REQUEST_LOST])
async def test_an_instance_recorded_unseen_is_recorded_once(
    proxied: tuple[Proxy, PostgresStore], store: PostgresStore, fault: Fault
) -> None:
    """Sent again after its answer, or itself, was lost, the record is known to be one's own."""
    operation = await _recorded_unseen(proxied, fault)
    assert await store.operation(operation.id) == operation
    assert await store.instance(operation.instance) is not None


async def test_an_instance_recorded_unseen_that_nobody_can_tell_about(
    proxied: tuple[Proxy, PostgresStore],
) -> None:
    """With the network gone, the message does not claim that nothing was changed."""
    with pytest.raises(StateUnavailable, match="cannot be told yet"):
        await _recorded_unseen(proxied, Fault.NETWORK_LOST)


async def _handed_over(proxied: tuple[Proxy, PostgresStore], fault: Fault) -> Instance:
    """Hand a database over while that happens to the statement; return the instance wanted."""
    proxy, proxied_store = proxied
    name = database_name()
    await proxied_store.warm.add(WarmDatabase(name, "alpha", "service", "plan", "like this", "tag"))
    assert await proxied_store.warm.ready(name)
    wanted = replace(an_instance(), status=Status.READY)
    operation = an_operation(wanted.key).succeeded()
    proxy.request, proxy.answer, proxy.fault = HAND_OVER, ONE_ROW, fault
    place = await proxied_store.warm.hand_over(
        wanted, operation, fingerprint="like this", servers=["alpha"]
    )
    assert proxy.struck.is_set()
    assert place == (None if fault is Fault.ANSWER_LOST else Location("alpha", name))
    return replace(wanted, database=name, owner=owner_name(name))


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.REQUEST_LOST])
async def test_a_handing_over_happens_once(
    proxied: tuple[Proxy, PostgresStore], store: PostgresStore, fault: Fault
) -> None:
    """Asked again after its answer, or itself, was lost, it is done; not twice, and not never."""
    given = await _handed_over(proxied, fault)
    assert await store.instance(given.key) == given
    assert [warm.state for warm in await store.warm.listed()] == [WarmState.CLAIMED]


async def test_a_handing_over_nobody_can_tell_about_is_said_to_be_so(
    proxied: tuple[Proxy, PostgresStore], store: PostgresStore
) -> None:
    """With the network gone, the message does not claim that nothing was changed."""
    with pytest.raises(StateUnavailable, match="cannot be told yet"):
        await _handed_over(proxied, Fault.NETWORK_LOST)
    assert [warm.state for warm in await store.warm.listed()] == [WarmState.CLAIMED]
