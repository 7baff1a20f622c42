"""Leases: who may go on with an operation, and who may finish it. The database's clock decides."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from broker.domain.errors import PermanentFailure
from tests.integration.store.observe import query
from tests.integration.store.records import EXPIRED, LEASE, a_key, an_operation

if TYPE_CHECKING:
    from datetime import timedelta

    from broker.domain.operation import Operation
    from broker.store import PostgresStore


async def _leased(store: PostgresStore, lease: timedelta) -> Operation:
    operation = an_operation(a_key())
    async with store.transaction() as state:
        await state.add_operation(operation, lease=lease)
    return operation


async def _take_over(store: PostgresStore, operation: Operation) -> Operation | None:
    async with store.transaction() as state:
        return await state.take_over(operation, token=uuid4(), lease=LEASE)


async def _finish(store: PostgresStore, operation: Operation) -> bool:
    async with store.transaction() as state:
        return await state.finish_operation(operation)


async def test_a_held_lease_cannot_be_taken(store: PostgresStore) -> None:
    """While the lease runs, nobody else gets the operation and its token stays."""
    operation = await _leased(store, LEASE)
    assert await _take_over(store, operation) is None
    assert await store.operation(operation.id) == operation


async def test_an_expired_lease_is_taken_once(store: PostgresStore) -> None:
    """Of many that try at once, one gets the operation, with a token of its own."""
    operation = await _leased(store, EXPIRED)
    taken = await asyncio.gather(*(_take_over(store, operation) for _ in range(10)))
    (winner,) = (found for found in taken if found is not None)
    assert winner.lease_token != operation.lease_token
    assert replace(winner, lease_token=operation.lease_token) == operation
    assert await store.operation(operation.id) == winner


async def test_an_extended_lease_cannot_be_taken(store: PostgresStore) -> None:
    """Whoever still holds the token keeps an expired lease alive, until somebody takes it."""
    operation = await _leased(store, EXPIRED)
    assert await store.extend_lease(operation, lease=LEASE)
    assert await _take_over(store, operation) is None


async def test_asking_for_a_lease_waits_for_nobody(store: PostgresStore) -> None:
    """The holder learns that it is one while another transaction has locked the operation."""
    operation = await _leased(store, EXPIRED)
    async with store.transaction() as state:
        taken = await state.take_over(operation, token=uuid4(), lease=LEASE)
        assert taken is not None
        assert await store.holds_lease(operation)
    assert await store.holds_lease(taken)


async def test_a_lost_lease_changes_nothing(store: PostgresStore) -> None:
    """Its former holder can neither extend nor finish, succeed nor fail."""
    operation = await _leased(store, EXPIRED)
    taken = await _take_over(store, operation)
    assert not await store.holds_lease(operation)
    assert not await store.extend_lease(operation, lease=LEASE)
    assert not await _finish(store, operation.succeeded())
    assert not await _finish(store, operation.failed(PermanentFailure()))
    assert await store.operation(operation.id) == taken


async def test_a_finished_operation_stays_as_it_is(store: PostgresStore) -> None:
    """An end is final: no second end, no extension, no takeover."""
    operation = await _leased(store, EXPIRED)
    done = operation.succeeded()
    assert await _finish(store, done)
    assert not await _finish(store, operation.failed(PermanentFailure()))
    assert not await store.holds_lease(operation)
    assert not await store.extend_lease(operation, lease=LEASE)
    assert await _take_over(store, operation) is None
    assert await store.operation(operation.id) == done


async def test_the_end_is_stamped_by_the_database(store: PostgresStore, state_dsn: str) -> None:
    """An operation has the time of its end exactly when it is over."""
    operation = await _leased(store, LEASE)
    assert await query(state_dsn, "SELECT finished_at FROM pgbroker.operations") == [(None,)]
    assert await _finish(store, operation.succeeded())
    stamped = "SELECT age(now(), finished_at) < interval '1 minute' FROM pgbroker.operations"
    assert await query(state_dsn, stamped) == [(True,)]


async def test_taking_over_what_is_unknown_gives_nothing(store: PostgresStore) -> None:
    """An operation that was never recorded cannot be taken, whatever else there is."""
    other = await _leased(store, EXPIRED)
    assert await _take_over(store, an_operation(a_key())) is None
    assert await store.operation(other.id) == other
