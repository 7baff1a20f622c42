"""Instances, bindings and operations come back as they went in."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from broker.domain.errors import InvalidRequest, NotFound, UpdateRefused
from broker.domain.instance import BindingKey, InstanceKey, Status
from broker.domain.placement import Occupancy, Placed
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
    from broker.store import PostgresStore


async def test_an_instance_comes_back_whole(store: PostgresStore) -> None:
    """Every field of an instance survives, and every number and character of its parameters."""
    instance = an_instance()
    await record(store, instance)
    found = await store.instance(instance.key)
    assert found == instance
    assert repr(found) == repr(replace(instance, created_at=found.created_at))


async def test_an_instance_without_optional_fields_comes_back(store: PostgresStore) -> None:
    """What was absent is absent afterwards, not an empty string or JSON null."""
    bare = replace(
        an_instance(),
        parameters={},
        organization_guid=None,
        space_guid=None,
        maintenance_version=None,
        extensions=(),
        former_plan_ids=(),
    )
    await record(store, bare)
    assert await store.instance(bare.key) == bare


async def test_saving_an_instance_overwrites_it(store: PostgresStore) -> None:
    """After a save the new values are read, inside and outside of transactions."""
    before = an_instance()
    other = an_instance()
    await record(store, before, other)
    after = replace(
        before,
        plan_id="larger",
        former_plan_ids=("plan",),
        parameters={"extensions": ["hstore"]},
        context={"namespace": "other"},
        maintenance_version=None,
        extensions=("hstore",),
        status=Status.READY,
    )
    async with store.transaction() as state:
        await state.save_instance(after)
        assert await state.instance(before.key) == after
    assert await store.instance(before.key) == after
    assert await store.instance(other.key) == other


async def test_a_binding_comes_back_whole(store: PostgresStore) -> None:
    """Every field of a binding survives, password and verifier included."""
    instance = an_instance()
    binding = a_binding(instance.key)
    await record(store, instance, binding)
    assert await store.binding(binding.key) == binding
    async with store.transaction() as state:
        assert await state.binding(binding.key) == binding


async def test_a_status_changes_nothing_else(store: PostgresStore) -> None:
    """After a change of status everything else is as it was, of other bindings, too."""
    instance = an_instance()
    before, other = a_binding(instance.key, "one"), a_binding(instance.key, "two")
    await record(store, instance, before, other)
    async with store.transaction() as state:
        await state.set_binding_status(before.key, Status.DELETING)
        await state.set_instance_status(instance.key, Status.FAILED)
    async with store.transaction() as state:
        assert await state.bindings(instance.key) == [
            replace(before, status=Status.DELETING),
            other,
        ]
        assert await state.instance(instance.key) == replace(instance, status=Status.FAILED)


async def test_an_operation_comes_back_whole(store: PostgresStore) -> None:
    """Every field of an operation survives, with and without a target and an identity."""
    key = a_key()
    update = an_operation(key)
    bind = an_operation(key, "binding")
    anonymous = replace(bind, caller=replace(bind.caller, identity=None))
    await record(store, update, anonymous)
    assert await store.operation(update.id) == update
    assert await store.operation(anonymous.id) == anonymous


async def test_a_failed_operation_says_why(store: PostgresStore) -> None:
    """The outcome of an operation is what it was finished with."""
    operation = an_operation(a_key())
    await record(store, operation)
    failed = operation.failed(
        UpdateRefused("Too small.", instance_usable=True, update_repeatable=False)
    )
    async with store.transaction() as state:
        assert await state.finish_operation(failed)
    assert await store.operation(operation.id) == failed


async def test_what_is_not_there_is_none(store: PostgresStore) -> None:
    """Unknown keys are answered with nothing, not with an error."""
    key = a_key()
    assert await store.instance(key) is None
    assert await store.binding(BindingKey(key, "b")) is None
    assert await store.operation(uuid4()) is None
    assert await store.last_operation(key) is None
    assert await store.last_operation(key, "b") is None
    async with store.transaction() as state:
        assert await state.instance(key) is None
        assert await state.binding(BindingKey(key, "b")) is None
        assert await state.bindings(key) == []
        assert await state.active_operations(key) == []
        assert await state.occupancy(exclusively=False) == Occupancy()


async def test_platforms_do_not_see_each_other(store: PostgresStore) -> None:
    """The same instance id of two platforms is two instances."""
    here = an_instance(InstanceKey("here", "same"))
    there = an_instance(InstanceKey("there", "same"))
    await record(store, here, there)
    async with store.transaction() as state:
        await state.remove_instance(here.key)
    assert await store.instance(here.key) is None
    assert await store.instance(there.key) == there


async def test_a_taken_key_is_not_taken_again(store: PostgresStore) -> None:
    """Adding what exists says so and changes nothing."""
    instance = an_instance()
    binding = a_binding(instance.key)
    await record(store, instance, binding)
    async with store.transaction() as state:
        assert not await state.add_instance(an_instance(instance.key))
        assert not await state.add_binding(a_binding(instance.key))
    assert await store.instance(instance.key) == instance
    assert await store.binding(binding.key) == binding


async def test_removing_an_instance_leaves_only_its_operations(store: PostgresStore) -> None:
    """Bindings go with their instance; operations stay readable."""
    instance = an_instance()
    binding = a_binding(instance.key)
    operation = an_operation(instance.key)
    await record(store, instance, binding, operation)
    async with store.transaction() as state:
        await state.remove_instance(instance.key)
    assert await store.instance(instance.key) is None
    assert await store.binding(binding.key) is None
    assert await store.last_operation(instance.key) == operation


async def test_removing_a_binding_leaves_the_others(store: PostgresStore) -> None:
    """Only the named binding goes."""
    instance = an_instance()
    one, two = a_binding(instance.key, "one"), a_binding(instance.key, "two")
    await record(store, instance, one, two)
    async with store.transaction() as state:
        await remove_binding(state, one.key)
        assert await state.bindings(instance.key) == [two]


async def test_a_binding_needs_its_instance(store: PostgresStore) -> None:
    """A binding of an instance that is not there is refused as such."""
    with pytest.raises(NotFound, match="no such service instance"):
        await record(store, a_binding(a_key()))


async def test_databases_are_counted_per_server(store: PostgresStore) -> None:
    """Placement learns how many instances each server holds."""
    await record(store, *(an_instance(server=name) for name in ("alpha", "alpha", "beta")))
    async with store.transaction() as state:
        occupancy = await state.occupancy(exclusively=False)
    assert set(occupancy.placed) == {
        Placed("alpha", "service", "plan", 2, 2),
        Placed("beta", "service", "plan", 1, 1),
    }


async def test_an_update_in_progress_promises_both_plans(store: PostgresStore) -> None:
    """What an instance may become counts beside what it is, and is no second database."""
    instance = an_instance()
    await record(store, instance, an_operation(instance.key))
    occupancy = await store.servers.occupancy()
    assert set(occupancy.placed) == {
        Placed("alpha", "service", "plan", 1, 1),
        Placed("alpha", "service", "larger", 0, 1),
    }


async def test_the_newest_operation_is_the_last_recorded(store: PostgresStore) -> None:
    """Order is the database's, so that a replica whose clock is behind changes nothing."""
    first = an_operation(a_key())
    second = an_operation(first.instance)
    second = replace(second, started_at=first.started_at - timedelta(hours=1))
    for operation in (first, second):
        async with store.transaction() as state:
            await state.add_operation(operation, lease=LEASE)
            assert await state.finish_operation(operation.succeeded())
    assert await store.last_operation(first.instance) == second.succeeded()


async def test_operations_of_instance_and_bindings_are_apart(store: PostgresStore) -> None:
    """Asking for the instance's operation never finds a binding's, nor one binding another's."""
    key = a_key()
    own = an_operation(key)
    of_one, of_two = an_operation(key, "one"), an_operation(key, "two")
    await record(store, own, of_one, of_two)
    assert await store.last_operation(key) == own
    assert await store.last_operation(key, "one") == of_one
    assert await store.last_operation(key, "two") == of_two
    assert await store.last_operation(key, "three") is None
    async with store.transaction() as state:
        assert await state.active_operations(key) == [own, of_one, of_two]
        assert await state.finish_operation(of_one.succeeded())
        assert await state.active_operations(key) == [own, of_two]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("server", "nul\x00"),
        ("server", "surrogate \ud800"),
        ("plan_id", "x" * 801),
        ("plan_id", ""),
        ("parameters", {"text": "x" * 2**20}),
        ("parameters", {"number": float("nan")}),
    ],
)
async def test_what_cannot_be_stored_is_refused(
    store: PostgresStore, field: str, value: Any
) -> None:
    """A value PostgreSQL has no room for is the request's fault, and nothing is stored."""
    instance = replace(an_instance(), **{field: value})
    with pytest.raises(InvalidRequest):
        await record(store, instance)
    assert await store.instance(instance.key) is None


async def test_ids_of_the_greatest_length_fit_the_indexes(store: PostgresStore) -> None:
    """The longest ids that are accepted, incompressible ones, fit into every index."""
    token = "".join(chr(0x4E00 + (n * 7919) % 20000) for n in range(266)) + "xx"
    instance = an_instance(InstanceKey(token, token))
    binding = a_binding(instance.key, token)
    operation = an_operation(instance.key, token)
    await record(store, instance, binding, operation)
    assert await store.binding(binding.key) == binding
    assert await store.last_operation(instance.key, token) == operation
