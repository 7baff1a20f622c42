"""Which expired bindings are to be removed, and in which order."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from broker.domain.errors import PermanentFailure
from broker.domain.instance import Status
from broker.domain.operation import OperationKind
from tests.integration.store.records import LEASE, a_binding, an_instance, an_operation, record

if TYPE_CHECKING:
    from broker.domain.instance import BindingKey
    from broker.domain.operation import Operation
    from broker.store import PostgresStore

NOW = datetime.now(UTC)


async def expired(store: PostgresStore, server: str, age: int) -> BindingKey:
    """Record a binding of a finished instance that ended some minutes ago."""
    instance = replace(an_instance(server=server), status=Status.READY)
    ended = NOW - timedelta(minutes=age)
    binding = replace(a_binding(instance.key, f"{age}"), expires_at=ended)
    await record(store, instance, binding)
    return binding.key


async def unbind(store: PostgresStore, key: BindingKey) -> Operation:
    """Record an unbind in progress."""
    operation = replace(an_operation(key.instance, key.binding_id), kind=OperationKind.UNBIND)
    async with store.transaction() as state:
        assert await state.record(operation, Status.DELETING, lease=LEASE)
    return operation


async def test_no_server_takes_the_turn_of_another(store: PostgresStore) -> None:
    """Of each server come the oldest, so many at most; what ends later is not listed."""
    oldest, older, _ = [await expired(store, "alpha", age) for age in (30, 20, 10)]
    other = await expired(store, "beta", 5)
    await expired(store, "beta", 1)
    found = await store.expired.bindings(NOW - timedelta(minutes=2), per_server=2)
    assert found == {"alpha": [oldest, older], "beta": [other]}


async def test_what_is_in_progress_or_has_failed_starves_nothing(store: PostgresStore) -> None:
    """Who was tried comes after who was not, the last try last; who is at work is not listed."""
    first, second, third, fourth = [await expired(store, "alpha", age) for age in (4, 3, 2, 1)]
    for key in (second, first):
        failed = (await unbind(store, key)).failed(PermanentFailure())
        async with store.transaction() as state:
            assert await state.finish_operation(failed)
    await unbind(store, third)
    found = await store.expired.bindings(NOW, per_server=10)
    assert found == {"alpha": [fourth, second, first]}
