"""Asynchronous operations and polling (OSB API 2.17, "Polling Last Operation")."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from broker.domain.instance import BindingKey, InstanceKey, Status
from broker.domain.operation import Caller, Operation, OperationKind, UpdateTarget
from tests.support.catalog import BIG, OTHER_SERVICE, SERVICE, SLOW, SMALL
from tests.support.platform import new_id

if TYPE_CHECKING:
    from broker.store import PostgresStore
    from tests.support.platform import Platform

PATIENT = "?accepts_incomplete=true"
CHANGE = {"extensions": ["citext"]}
STATUS = {
    OperationKind.PROVISION: Status.CREATING,
    OperationKind.UPDATE: Status.READY,
    OperationKind.DEPROVISION: Status.DELETING,
    OperationKind.BIND: Status.CREATING,
    OperationKind.UNBIND: Status.DELETING,
}
"""Of an instance or binding, while the operation is in progress."""


async def test_the_whole_life_of_a_slow_plan(kubernetes: Platform) -> None:
    """Each change is accepted with an operation, which polling sees succeed."""
    instance, binding = new_id(), new_id()
    accepted = kubernetes.provision(instance, SLOW, query=PATIENT)
    assert accepted.status_code == 202
    assert set(accepted.json()) == {"operation"}
    named = {"operation": accepted.json()["operation"]}
    polled = await kubernetes.polled(instance, service_id=SERVICE, plan_id=SLOW, **named)
    assert polled.json() == {"state": "succeeded"}
    assert kubernetes.provision(instance, SLOW, query=PATIENT).status_code == 200

    refused = kubernetes.update(instance, parameters=CHANGE)
    assert (refused.status_code, refused.json()["error"]) == (422, "AsyncRequired")
    assert kubernetes.update(instance, query=PATIENT, parameters=CHANGE).status_code == 202
    assert (await kubernetes.polled(instance)).json() == {"state": "succeeded"}
    assert kubernetes.fetch(instance).json()["parameters"] == CHANGE

    assert kubernetes.bind(instance, binding, SLOW, query=PATIENT).status_code == 202
    assert (await kubernetes.polled(instance, binding)).json() == {"state": "succeeded"}

    refused = kubernetes.unbind(instance, binding, SLOW)
    assert (refused.status_code, refused.json()["error"]) == (422, "AsyncRequired")
    accepted = kubernetes.unbind(instance, binding, SLOW, accepts_incomplete="true")
    assert accepted.status_code == 202
    named = {"operation": accepted.json()["operation"]}
    assert (await kubernetes.polled(instance, binding, **named)).status_code == 410

    refused = kubernetes.deprovision(instance, SLOW)
    assert (refused.status_code, refused.json()["error"]) == (422, "AsyncRequired")
    accepted = kubernetes.deprovision(instance, SLOW, accepts_incomplete="true")
    assert accepted.status_code == 202
    assert (await kubernetes.polled(instance, **accepted.json())).status_code == 410
    again = kubernetes.deprovision(instance, SLOW, accepts_incomplete="true")
    assert again.status_code == 410


async def _at_work(
    store: PostgresStore, kind: OperationKind, instance: str, binding: str
) -> Operation:
    """Record that another process is at work on a finished instance or binding."""
    key = InstanceKey("kubernetes", instance)
    of_binding = kind in {OperationKind.BIND, OperationKind.UNBIND}
    operation = Operation(
        id=uuid4(),
        kind=kind,
        instance=key,
        binding_id=binding if of_binding else None,
        caller=Caller("kubernetes", "request"),
        lease_token=uuid4(),
        started_at=datetime.now(UTC),
        target=UpdateTarget(SLOW, CHANGE, {}, ("citext",), None),
    )
    async with store.transaction() as state:
        stored, bound = await state.instance(key), await state.binding(BindingKey(key, binding))
        assert stored is not None
        assert bound is not None
        if of_binding:
            await state.set_binding_status(bound.key, STATUS[kind])
        else:
            await state.set_instance_status(stored.key, STATUS[kind])
        await state.add_operation(operation, lease=timedelta(minutes=5))
    return operation


@pytest.mark.parametrize("kind", list(OperationKind))
async def test_a_repeated_request_gets_the_operation_in_progress(
    kubernetes: Platform, store: PostgresStore, kind: OperationKind
) -> None:
    """While it is not done, each verb sent again is 202 with the operation of the first time."""
    instance, binding = new_id(), new_id()
    kubernetes.provision(instance, SLOW, query=PATIENT)
    await kubernetes.polled(instance)
    kubernetes.bind(instance, binding, SLOW, query=PATIENT)
    await kubernetes.polled(instance, binding)
    operation = await _at_work(store, kind, instance, binding)
    repeat = {
        OperationKind.PROVISION: lambda: kubernetes.provision(instance, SLOW, query=PATIENT),
        OperationKind.UPDATE: lambda: kubernetes.update(instance, query=PATIENT, parameters=CHANGE),
        OperationKind.BIND: lambda: kubernetes.bind(instance, binding, SLOW, query=PATIENT),
        OperationKind.UNBIND: lambda: kubernetes.unbind(
            instance, binding, SLOW, accepts_incomplete="true"
        ),
        OperationKind.DEPROVISION: lambda: kubernetes.deprovision(
            instance, SLOW, accepts_incomplete="true"
        ),
    }
    again = repeat[kind]()
    assert (again.status_code, again.json()) == (202, {"operation": str(operation.id)})
    polled = kubernetes.poll(instance, operation.binding_id, operation=str(operation.id))
    assert polled.json()["state"] == "in progress"


async def test_a_failure_is_told_to_whoever_polls(kubernetes: Platform) -> None:
    """What the server refuses after the answer shows in ``last_operation``, with its reason."""
    instance = new_id()
    parameters = {"init-db-args": "--locale=xx_XX.UTF-8"}
    accepted = kubernetes.provision(instance, SLOW, query=PATIENT, parameters=parameters)
    assert accepted.status_code == 202
    polled = (await kubernetes.polled(instance, **accepted.json())).json()
    assert polled["state"] == "failed"
    assert "xx_XX" in polled["description"]
    assert set(polled) == {"state", "description"}
    assert kubernetes.fetch(instance).status_code == 404
    gone = kubernetes.deprovision(instance, SLOW, accepts_incomplete="true")
    assert gone.status_code == 410


def test_finished_operations_are_remembered(
    kubernetes: Platform, existing: tuple[str, str]
) -> None:
    """Synchronous operations can be polled as well, for the instance and the binding."""
    assert kubernetes.poll(existing[0]).json() == {"state": "succeeded"}
    assert kubernetes.poll(*existing).json() == {"state": "succeeded"}
    hints = {"service_id": SERVICE, "plan_id": SMALL}
    assert kubernetes.poll(existing[0], **hints).status_code == 200
    assert kubernetes.poll(*existing, **hints).status_code == 200


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("operation", [None, "135b4d91-7379-434c-9e3f-27dfda5934b8", "text"])
def test_what_does_not_exist_is_not_found(
    kubernetes: Platform, existing: tuple[str, str], operation: str | None
) -> None:
    """Polling an unknown instance or binding is 404, whatever operation is named."""
    query = {} if operation is None else {"operation": operation}
    assert kubernetes.poll(new_id(), **query).status_code == 404
    assert kubernetes.poll(existing[0], new_id(), **query).status_code == 404
    assert kubernetes.poll(new_id(), existing[1], **query).status_code == 404


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "query",
    [
        {"operation": ""},
        {"operation": "task_10"},
        {"operation": "00000000-0000-0000-0000-000000000000"},
        {"operation": "x" * 10_001},
        {"operation": "\x00"},
        {"operation": "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")},
        {"service_id": OTHER_SERVICE},
        {"plan_id": BIG},
        {"plan_id": ""},
    ],
)
def test_bad_polls_are_refused(
    kubernetes: Platform, existing: tuple[str, str], query: dict[str, str]
) -> None:
    """An operation that is not this instance's, and wrong hints, are bad requests."""
    for polled in (kubernetes.poll(existing[0], **query), kubernetes.poll(*existing, **query)):
        assert polled.status_code == 400
        assert polled.json()["description"]


async def test_an_operation_belongs_to_its_instance(
    kubernetes: Platform, existing: tuple[str, str]
) -> None:
    """The operation of one instance says nothing under another one, or under a binding."""
    instance = new_id()
    operation = kubernetes.provision(instance, SLOW, query=PATIENT).json()
    assert kubernetes.poll(existing[0], **operation).status_code == 400
    assert kubernetes.poll(*existing, **operation).status_code == 400
    assert (await kubernetes.polled(instance, **operation)).status_code == 200
