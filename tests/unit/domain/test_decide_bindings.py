"""What a request for a binding means, given what is stored."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from broker.domain import decide, decide_bindings
from broker.domain.errors import ConcurrencyError, Conflict, InvalidRequest
from broker.domain.instance import Status
from broker.domain.operation import OperationKind
from tests.unit.domain.examples import BINDING, INSTANCE, NOW, PLAN, a_bind, an_operation

UPDATE = an_operation(OperationKind.UPDATE)
BIND = an_operation(OperationKind.BIND, binding_id="binding-1")
UNBIND = an_operation(OperationKind.UNBIND, binding_id="binding-1")


@pytest.mark.parametrize(
    ("active", "decision"),
    [
        (None, decide.Create()),
        (UNBIND, decide.Await(UNBIND)),
        (BIND, decide.Halt((BIND,))),
    ],
)
def test_an_unbind_ends_the_bind_in_progress(active: Any, decision: Any) -> None:
    """Deleting halts what is being made (OSB API 2.17, "Unbinding")."""
    assert decide_bindings.decide_unbind(None, active) == decision


def test_an_unbind_waits_for_the_instance() -> None:
    """While the instance is changed or deleted, its bindings stay as they are."""
    with pytest.raises(ConcurrencyError):
        decide_bindings.decide_unbind(UPDATE, None)


def test_a_new_binding_id_is_created() -> None:
    """Nothing is stored: the binding is made."""
    assert decide_bindings.decide_bind(a_bind(), INSTANCE, None, None, None) == decide.Create()


def test_an_identical_bind_is_a_replay() -> None:
    """The same binding again, even while its instance is changed, answers as before."""
    assert decide_bindings.decide_bind(a_bind(), INSTANCE, BINDING, UPDATE, None) == decide.Replay()


def test_a_bind_whose_password_is_lost_is_run_again() -> None:
    """A recovered binding gets a new password when its platform asks for its credentials."""
    stored = replace(BINDING, secret=None)
    assert decide_bindings.decide_bind(a_bind(), INSTANCE, stored, None, None) == decide.Retry()


def test_a_recovered_binding_has_a_successor() -> None:
    """Rotation needs the predecessor's attributes, not its password."""
    decide_bindings.check_predecessor(
        replace(BINDING, secret=None), a_bind(parameters=None), PLAN, BINDING.created_at
    )


def test_a_bind_in_progress_is_awaited() -> None:
    """The same request again, while the first is in progress, leads to the same operation."""
    stored = replace(BINDING, status=Status.CREATING)
    assert decide_bindings.decide_bind(a_bind(), INSTANCE, stored, None, BIND) == decide.Await(BIND)


@pytest.mark.parametrize("status", [Status.FAILED, Status.CREATING])
def test_an_unfinished_bind_is_run_again(status: Status) -> None:
    """The same request for what is not finished, and nobody is at work on, runs it again."""
    stored = replace(BINDING, status=status)
    assert decide_bindings.decide_bind(a_bind(), INSTANCE, stored, None, None) == decide.Retry()


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": {}},
        {"parameters": None},
        {"bind_resource": {}},
        {"app_guid": "other"},
        {"predecessor_id": "binding-0"},
    ],
)
def test_another_binding_under_the_same_id_is_a_conflict(changes: dict[str, Any]) -> None:
    """The same binding id with other attributes is refused."""
    with pytest.raises(Conflict):
        decide_bindings.decide_bind(a_bind(**changes), INSTANCE, BINDING, None, None)


def test_a_binding_that_is_being_deleted_is_not_made() -> None:
    """A bind waits until the deletion of its id is done."""
    stored = replace(BINDING, status=Status.DELETING)
    with pytest.raises(ConcurrencyError):
        decide_bindings.decide_bind(a_bind(), INSTANCE, stored, None, UNBIND)


def test_a_bind_waits_for_the_instance() -> None:
    """While the instance is changed or deleted, no binding is made."""
    with pytest.raises(ConcurrencyError):
        decide_bindings.decide_bind(a_bind(), INSTANCE, None, UPDATE, None)


def test_a_bind_of_another_plan_is_refused() -> None:
    """A bind has to name the service and the plan of its instance."""
    for changes in ({"service_id": "other"}, {"plan_id": "other"}):
        with pytest.raises(InvalidRequest):
            decide_bindings.decide_bind(a_bind(**changes), INSTANCE, None, None, None)


def test_a_repeated_rotation_need_not_repeat_the_parameters() -> None:
    """A successor has its predecessor's parameters, said or unsaid; others are a conflict."""
    stored = replace(BINDING, predecessor_id="binding-0")
    for parameters in (None, BINDING.parameters):
        request = a_bind(predecessor_id="binding-0", parameters=parameters)
        assert decide_bindings.decide_bind(request, INSTANCE, stored, None, None) == decide.Replay()
    request = a_bind(predecessor_id="binding-0", parameters={"role": "rw"})
    with pytest.raises(Conflict):
        decide_bindings.decide_bind(request, INSTANCE, stored, None, None)


def test_a_valid_predecessor_is_accepted() -> None:
    """A binding that has not expired can be rotated, with its own parameters or none."""
    for parameters in (None, BINDING.parameters):
        request = a_bind(predecessor_id="binding-1", parameters=parameters)
        for expires_at in (None, NOW + timedelta(seconds=1)):
            decide_bindings.check_predecessor(
                replace(BINDING, expires_at=expires_at), request, PLAN, NOW
            )


@pytest.mark.parametrize(
    ("predecessor", "plan", "parameters", "reason"),
    [
        (None, PLAN, None, "not a service binding"),
        (replace(BINDING, status=Status.CREATING), PLAN, None, "not a service binding"),
        (replace(BINDING, status=Status.DELETING), PLAN, None, "not a service binding"),
        (replace(BINDING, expires_at=NOW), PLAN, None, "expired"),
        (BINDING, replace(PLAN, binding_rotatable=False), None, "cannot be rotated"),
        (BINDING, PLAN, {"role": "rw"}, "leave parameters out"),
    ],
)
def test_rotations_are_refused_with_the_reason(
    predecessor: Any, plan: Any, parameters: dict[str, str] | None, reason: str
) -> None:
    """A successor needs a finished, unexpired predecessor of a plan that can be rotated."""
    request = a_bind(predecessor_id="binding-1", parameters=parameters)
    with pytest.raises(InvalidRequest, match=reason):
        decide_bindings.check_predecessor(predecessor, request, plan, NOW)
