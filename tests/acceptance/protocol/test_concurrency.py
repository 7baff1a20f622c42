"""Several requests at the same moment, and operations whose process died."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from broker.domain.credentials import generate_login_secret
from broker.domain.database import Access
from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey, Status
from broker.domain.names import database_name, login_name, owner_name
from broker.domain.operation import Caller, Operation, OperationKind, OperationState, UpdateTarget
from broker.store import PostgresStore
from tests.support.catalog import BIG, SERVICE, SMALL
from tests.support.platform import can_connect, new_id, rows

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import httpx

    from tests.support.application import Application, Footprint
    from tests.support.platform import Platform

DIED = timedelta(seconds=-1)
AT_WORK = timedelta(minutes=5)


@pytest.fixture
async def store(application: Application) -> AsyncIterator[PostgresStore]:
    """Return the broker's state, to record in it what a process that died had recorded."""
    store = PostgresStore(application.settings.state_dsn.reveal(), application.keys)
    yield store
    await store.close()


def _at_once(*requests: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """Send requests at the same moment; return the responses in the same order."""
    barrier = threading.Barrier(len(requests))

    def send(request: Callable[[], httpx.Response]) -> httpx.Response:
        barrier.wait(10)
        return request()

    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(send, requests))


def _instance(instance_id: str) -> Instance:
    database = database_name()
    return Instance(
        key=InstanceKey("kubernetes", instance_id),
        service_id=SERVICE,
        plan_id=SMALL,
        parameters={},
        context={},
        server="alpha",
        database=database,
        owner=owner_name(database),
        tag_key_id="test",
        extensions=("citext",),
        maintenance_version="1.2.3",
        created_at=datetime.now(UTC),
    )


def _binding(instance: str, binding: str) -> Binding:
    return Binding(
        key=BindingKey(InstanceKey("kubernetes", instance), binding),
        parameters={},
        context={},
        login=login_name(),
        access=Access.WRITE,
        secret=generate_login_secret(),
        created_at=datetime.now(UTC),
    )


def _operation(kind: OperationKind, instance: str, binding: str | None = None) -> Operation:
    key = InstanceKey("kubernetes", instance)
    return Operation(
        id=uuid4(),
        kind=kind,
        instance=key,
        binding_id=binding,
        caller=Caller("kubernetes", "request"),
        lease_token=uuid4(),
        started_at=datetime.now(UTC),
    )


def test_the_same_provision_twice_at_once_makes_one_database(
    kubernetes: Platform, kept: Callable[[], Footprint]
) -> None:
    """Both callers are told that it is there, and there is one."""
    before, instance = kept(), new_id()
    answers = _at_once(*[lambda: kubernetes.provision(instance)] * 4)
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert 201 in {answer.status_code for answer in answers}
    after = kept()
    assert len(after.databases - before.databases) == 1
    assert len(after.rows["operations"]) == len(before.rows["operations"]) + 1


def test_two_provisions_of_one_id_at_once_leave_one(kubernetes: Platform) -> None:
    """With different attributes, one request wins and the other conflicts."""
    instance = new_id()
    answers = _at_once(
        lambda: kubernetes.provision(instance, SMALL), lambda: kubernetes.provision(instance, BIG)
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    winner = (SMALL, BIG)[[answer.status_code for answer in answers].index(201)]
    assert kubernetes.fetch(instance).json()["plan_id"] == winner


def test_the_same_bind_twice_at_once_makes_one_login(
    kubernetes: Platform, kept: Callable[[], Footprint]
) -> None:
    """Both callers get the same credentials."""
    instance, binding = kubernetes.provisioned(), new_id()
    before = kept()
    answers = _at_once(*[lambda: kubernetes.bind(instance, binding)] * 4)
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert len({answer.json()["credentials"]["password"] for answer in answers}) == 1
    assert len(kept().roles - before.roles) == 1


def test_bindings_are_made_side_by_side(kubernetes: Platform) -> None:
    """Different bindings of one instance do not keep each other waiting with an error."""
    instance = kubernetes.provisioned()
    answers = _at_once(*[lambda: kubernetes.bind(instance, new_id())] * 4)
    assert [answer.status_code for answer in answers] == [201] * 4
    assert all(can_connect(answer.json()["credentials"]) for answer in answers)


def test_the_same_deletion_twice_at_once_is_done_once(kubernetes: Platform) -> None:
    """Both callers are told that it is gone."""
    instance = kubernetes.provisioned()
    answers = _at_once(*[lambda: kubernetes.deprovision(instance)] * 3)
    assert {answer.status_code for answer in answers} <= {200, 410}
    assert 200 in {answer.status_code for answer in answers}


async def test_a_provision_whose_process_died_is_taken_over(
    kubernetes: Platform, store: PostgresStore
) -> None:
    """The same request again finishes it, with the names that were recorded, as one operation."""
    instance = _instance(new_id())
    operation = _operation(OperationKind.PROVISION, instance.key.instance_id)
    async with store.transaction() as state:
        assert await state.add_instance(instance)
        await state.add_operation(operation, lease=DIED)
    assert kubernetes.poll(instance.key.instance_id).json()["state"] == "in progress"
    assert kubernetes.fetch(instance.key.instance_id).status_code == 404
    assert kubernetes.provision(instance.key.instance_id).status_code == 201
    polled = kubernetes.poll(instance.key.instance_id, operation=str(operation.id))
    assert polled.json() == {"state": "succeeded"}
    credentials = kubernetes.credentials(instance.key.instance_id, new_id())
    assert credentials["database"] == instance.database
    assert can_connect(credentials)


async def test_a_bind_whose_process_died_is_taken_over(
    kubernetes: Platform, store: PostgresStore
) -> None:
    """The same request again finishes it, with the password that was recorded."""
    instance = kubernetes.provisioned()
    binding = _binding(instance, new_id())
    operation = _operation(OperationKind.BIND, instance, binding.key.binding_id)
    async with store.transaction() as state:
        assert await state.add_binding(binding)
        await state.add_operation(operation, lease=DIED)
    credentials = kubernetes.credentials(instance, binding.key.binding_id)
    assert binding.secret is not None
    assert credentials["password"] == binding.secret.password.reveal()
    assert can_connect(credentials)


async def test_an_update_whose_process_died_is_taken_over(
    kubernetes: Platform, store: PostgresStore
) -> None:
    """The same request again finishes it; any other one has to wait for that."""
    instance, _, credentials = kubernetes.bound()
    target = UpdateTarget(BIG, {}, {}, ("citext",), "2.0.0")
    operation = replace(_operation(OperationKind.UPDATE, instance), target=target)
    async with store.transaction() as state:
        await state.add_operation(operation, lease=DIED)
    fetched = kubernetes.fetch(instance)
    assert (fetched.status_code, fetched.json()["error"]) == (422, "ConcurrencyError")
    other = kubernetes.update(instance, context={"platform": "kubernetes"})
    assert (other.status_code, other.json()["error"]) == (422, "ConcurrencyError")
    assert kubernetes.update(instance, plan_id=BIG).status_code == 200
    assert rows(
        credentials,
        "SELECT datconnlimit FROM pg_database WHERE datname = current_database()",
    ) == [(10,)]


async def test_a_deletion_ends_what_nobody_works_on(
    kubernetes: Platform, store: PostgresStore, kept: Callable[[], Footprint]
) -> None:
    """A DELETE ends operations whose processes died, on the instance and its bindings."""
    before = kept()
    unfinished = _instance(new_id())
    provision = _operation(OperationKind.PROVISION, unfinished.key.instance_id)
    async with store.transaction() as state:
        assert await state.add_instance(unfinished)
        await state.add_operation(provision, lease=DIED)
    assert kubernetes.deprovision(unfinished.key.instance_id).status_code == 200

    instance = kubernetes.provisioned()
    binds = [_operation(OperationKind.BIND, instance, new_id()) for _ in range(3)]
    async with store.transaction() as state:
        for bind in binds:
            assert await state.add_binding(_binding(instance, bind.binding_id or ""))
            await state.add_operation(bind, lease=DIED)
    unbound = kubernetes.unbind(instance, binds[0].binding_id or "")
    assert unbound.status_code == 200
    assert kubernetes.deprovision(instance).status_code == 200
    for operation in (provision, *binds):
        ended = await store.operation(operation.id)
        assert ended is not None
        assert ended.state == "failed"
        assert "being deleted" in (ended.description or "")
    assert kept().things() == before.things()


async def test_a_deletion_halts_what_somebody_works_on(
    kubernetes: Platform, store: PostgresStore
) -> None:
    """A DELETE does not wait for a bind in progress: it ends it, while an update has to wait."""
    instance = kubernetes.provisioned()
    binds = [_operation(OperationKind.BIND, instance, new_id()) for _ in range(2)]
    async with store.transaction() as state:
        for bind in binds:
            assert await state.add_binding(_binding(instance, bind.binding_id or ""))
            await state.add_operation(bind, lease=AT_WORK)
    refused = kubernetes.update(instance, plan_id=BIG)
    assert (refused.status_code, refused.json()["error"]) == (422, "ConcurrencyError")
    assert kubernetes.poll(instance, binds[0].binding_id).json() == {
        "state": "in progress",
        "description": "The credentials are being created.",
    }
    assert kubernetes.unbind(instance, binds[0].binding_id or "").status_code == 200
    assert kubernetes.deprovision(instance).status_code == 200
    for bind in binds:
        halted = await store.operation(bind.id)
        assert halted is not None
        assert (halted.state, halted.error) == (OperationState.FAILED, "TemporaryFailure")
        assert not await store.finish(bind.succeeded(), Status.READY)


async def test_nothing_is_done_to_an_instance_in_the_making(
    kubernetes: Platform, store: PostgresStore
) -> None:
    """Until a provision is done, everything but polling and deleting it has to wait."""
    instance = _instance(new_id())
    key = instance.key.instance_id
    async with store.transaction() as state:
        assert await state.add_instance(instance)
        await state.add_operation(_operation(OperationKind.PROVISION, key), lease=AT_WORK)
    for refused in (
        kubernetes.bind(key, new_id()),
        kubernetes.update(key, plan_id=BIG),
    ):
        assert (refused.status_code, refused.json()["error"]) == (422, "ConcurrencyError")
    assert kubernetes.fetch(key).status_code == 404
    assert kubernetes.unbind(key, new_id()).status_code == 410
    waiting = kubernetes.poll(key)
    assert waiting.json() == {
        "state": "in progress",
        "description": "The database is being created.",
    }


async def test_what_is_being_deleted_is_left_alone(
    kubernetes: Platform, store: PostgresStore
) -> None:
    """Until a deprovision is done, nothing else is possible, and it is not fetched any more."""
    instance, binding, _ = kubernetes.bound()
    async with store.transaction() as state:
        stored = await state.instance(InstanceKey("kubernetes", instance))
        assert stored is not None
        await state.save_instance(replace(stored, status=Status.DELETING))
        await state.add_operation(_operation(OperationKind.DEPROVISION, instance), lease=AT_WORK)
    for refused in (
        kubernetes.provision(instance),
        kubernetes.update(instance, plan_id=BIG),
        kubernetes.bind(instance, new_id()),
        kubernetes.unbind(instance, binding),
    ):
        assert (refused.status_code, refused.json()["error"]) == (422, "ConcurrencyError")
    assert kubernetes.fetch(instance).status_code == 404
