"""Transactions: all or nothing, locks, and the indexes that hold one operation at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from broker.domain.errors import ConcurrencyError, StateUnavailable
from broker.domain.instance import Status
from broker.domain.names import database_name
from broker.domain.placement import Occupancy
from broker.domain.warm import WarmDatabase
from broker.store import PostgresStore, rows
from broker.store import statements as sql
from tests.integration.store.observe import SOMEBODY_WAITS, until
from tests.integration.store.records import (
    LEASE,
    a_binding,
    a_key,
    an_instance,
    an_operation,
    record,
    remove_binding,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from broker.domain.instance import Instance
    from broker.domain.operation import Operation
    from broker.store import KeyRing
    from broker.store.transaction import PostgresTransaction


class Halt(Exception):
    """Raised by a test in the middle of a transaction."""


async def test_an_exception_takes_everything_back(store: PostgresStore) -> None:
    """A transaction left by an exception leaves nothing, and lets the exception through."""
    instance = an_instance()

    async def halt() -> None:
        async with store.transaction() as state:
            assert await state.add_instance(instance)
            await state.add_operation(an_operation(instance.key), lease=LEASE)
            raise Halt

    with pytest.raises(Halt):
        await halt()
    assert await store.instance(instance.key) is None
    assert await store.last_operation(instance.key) is None


async def test_a_cancelled_transaction_leaves_nothing(state_dsn: str, keys: KeyRing) -> None:
    """Cancelling a request takes its transaction back and returns its connection to the pool."""
    store = PostgresStore(state_dsn, keys, pool_size=1)
    instance = an_instance()
    inside = asyncio.Event()

    async def stay() -> None:
        async with store.transaction() as state:
            assert await state.add_instance(instance)
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stay())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.instance(instance.key) is None
    await store.close()


async def test_reading_an_instance_locks_it(store: PostgresStore, state_dsn: str) -> None:
    """A second transaction waits for the first, and then reads what the first one wrote."""
    before = an_instance()
    after = replace(before, status=Status.READY)
    await record(store, before)

    async def read() -> Instance | None:
        async with store.transaction() as state:
            return await state.instance(before.key)

    async with store.transaction() as state:
        await state.instance(before.key)
        reader = asyncio.create_task(read())
        await until(state_dsn, SOMEBODY_WAITS)
        assert await store.instance(before.key) == before
        await state.save_instance(after)
    assert await reader == after


async def test_reading_a_binding_locks_it(store: PostgresStore, state_dsn: str) -> None:
    """A second transaction waits for the first, and then finds the binding gone."""
    instance = an_instance()
    binding = a_binding(instance.key)
    await record(store, instance, binding)

    async def read() -> object:
        async with store.transaction() as state:
            return await state.binding(binding.key)

    async with store.transaction() as state:
        await state.binding(binding.key)
        reader = asyncio.create_task(read())
        await until(state_dsn, SOMEBODY_WAITS)
        await remove_binding(state, binding.key)
    assert await reader is None


async def test_of_two_requests_for_one_id_one_wins(store: PostgresStore, state_dsn: str) -> None:
    """An insert waits for the one under way and then says that the key is taken."""
    first = an_instance()

    async def add_too() -> bool:
        async with store.transaction() as state:
            return await state.add_instance(an_instance(first.key))

    async with store.transaction() as state:
        assert await state.add_instance(first)
        second = asyncio.create_task(add_too())
        await until(state_dsn, SOMEBODY_WAITS)
    assert not await second
    assert await store.instance(first.key) == first


async def _add(state: PostgresTransaction, instance: Instance) -> object:
    return await state.add_instance(instance)


async def _record_unseen(state: PostgresTransaction, instance: Instance) -> object:
    """Do what is a transaction of its own, and may wait for a standby at its end."""
    operation = rows.recorded_values(an_operation(instance.key))
    values = {"lease": LEASE, **operation, **rows.instance_values(instance)}
    return await state.execute(sql.RECORD_UNLESS_CORDONED, values)


async def _hand_over(state: PostgresTransaction, instance: Instance) -> object:
    """Likewise."""
    database = WarmDatabase(database_name(), "alpha", "service", "plan", "like this", "tag")
    await state.warm.add(database)
    assert await state.warm.ready(database.database)
    operation = an_operation(instance.key).succeeded()
    return await state.warm.hand_over(
        instance, operation, fingerprint="like this", servers=["alpha"]
    )


@pytest.mark.parametrize("add", [_add, _record_unseen, _hand_over])
@pytest.mark.parametrize("added", [True, False])
async def test_who_must_be_certain_waits_for_what_is_being_added(
    store: PostgresStore,
    state_dsn: str,
    add: Callable[[PostgresTransaction, Instance], Awaitable[object]],
    added: bool,
) -> None:
    """An instance that nobody else sees yet is there, or is not, when its transaction has ended."""
    instance = an_instance()

    async def look() -> Instance | None:
        async with store.transaction() as state:
            return await state.instance_being_added(instance.key)

    with suppress(ZeroDivisionError):
        async with store.transaction() as state:
            assert await add(state, instance)
            looker = asyncio.create_task(look())
            await until(state_dsn, SOMEBODY_WAITS)
            assert added or 1 // 0
    assert (await looker is not None) == added


async def test_places_are_counted_one_after_the_other(store: PostgresStore, state_dsn: str) -> None:
    """Who counts while another takes a place waits, and then counts that place too."""

    async def count() -> Occupancy:
        async with store.transaction() as state:
            return await state.occupancy(exclusively=True)

    async with store.transaction() as state:
        assert await state.occupancy(exclusively=True) == Occupancy()
        second = asyncio.create_task(count())
        await until(state_dsn, SOMEBODY_WAITS)
        assert await state.add_instance(an_instance())
    assert [placed.databases for placed in (await second).placed] == [1]


async def test_without_a_limit_nobody_waits_to_count(store: PostgresStore) -> None:
    """Provisions on servers without a limit do not queue."""
    async with store.transaction() as first, store.transaction() as second:
        await first.occupancy(exclusively=True)
        assert await second.occupancy(exclusively=False) == Occupancy()


@pytest.mark.parametrize("binding_id", [None, "binding"])
async def test_of_many_operations_at_once_one_is_recorded(
    store: PostgresStore, binding_id: str | None
) -> None:
    """The database itself holds one active operation per instance and per binding."""
    key = a_key()

    async def attempt() -> Operation | None:
        operation = an_operation(key, binding_id)
        try:
            await record(store, operation)
        except ConcurrencyError:
            return None
        return operation

    outcomes = await asyncio.gather(*(attempt() for _ in range(20)))
    assert Counter(outcome is None for outcome in outcomes) == {True: 19, False: 1}
    recorded = next(outcome for outcome in outcomes if outcome is not None)
    assert await store.last_operation(key, binding_id) == recorded


async def test_a_finished_operation_makes_room_for_the_next(store: PostgresStore) -> None:
    """Only operations in progress exclude each other."""
    first = an_operation(a_key())
    second = an_operation(first.instance)
    await record(store, first)
    async with store.transaction() as state:
        assert await state.finish_operation(first.succeeded())
        await state.add_operation(second, lease=LEASE)
    assert await store.last_operation(first.instance) == second


@pytest.fixture
async def hasty(state_dsn: str, keys: KeyRing) -> AsyncIterator[PostgresStore]:
    """Return a store with one connection that waits for a tenth of a second."""
    store = PostgresStore(state_dsn, keys, pool_size=1, patience=timedelta(seconds=0.1))
    yield store
    await store.close()


async def test_a_lock_held_too_long_is_a_temporary_failure(
    store: PostgresStore, hasty: PostgresStore
) -> None:
    """Waiting for a lock is bounded, and its end is told as something to try again."""
    instance = an_instance()
    await record(store, instance)
    async with store.transaction() as holder:
        await holder.instance(instance.key)
        with pytest.raises(StateUnavailable, match="busy"):
            async with asyncio.timeout(5), hasty.transaction() as state:
                await state.instance(instance.key)
    assert await hasty.instance(instance.key) == instance


async def test_an_exhausted_pool_is_a_temporary_failure(hasty: PostgresStore) -> None:
    """Waiting for a free connection is bounded, too, and the pool recovers."""
    async with hasty.transaction() as state:
        await state.occupancy(exclusively=False)
        with pytest.raises(StateUnavailable, match="busy"):
            async with asyncio.timeout(5), hasty.transaction():
                pass
    async with hasty.transaction():
        pass
