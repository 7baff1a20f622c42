"""What a request means, given what is stored."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from broker.domain import decide, decide_bindings
from broker.domain.errors import (
    ConcurrencyError,
    Conflict,
    InvalidRequest,
    MaintenanceInfoConflict,
    Unprocessable,
    UpdateRefused,
)
from broker.domain.instance import Status
from broker.domain.operation import OperationKind, UpdateTarget
from tests.unit.domain.examples import (
    BIG,
    INSTANCE,
    PLAN,
    a_bind,
    a_provision,
    an_operation,
    an_update,
)

PROVISION = an_operation(OperationKind.PROVISION)
UPDATE = an_operation(OperationKind.UPDATE)
DEPROVISION = an_operation(OperationKind.DEPROVISION)
BIND = an_operation(OperationKind.BIND, binding_id="binding-1")
UNBIND = an_operation(OperationKind.UNBIND, binding_id="binding-1")

TARGET = UpdateTarget(
    plan_id=INSTANCE.plan_id,
    parameters=INSTANCE.parameters,
    context=INSTANCE.context,
    extensions=INSTANCE.extensions,
    maintenance_version=INSTANCE.maintenance_version,
)


def test_a_new_id_is_created() -> None:
    """Nothing is stored: the instance is made."""
    assert decide.decide_provision(a_provision(), None, None) == decide.Create()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"maintenance_version": "1.0.0"},
        {"context": {**INSTANCE.context, "instance_name": "renamed", "annotations": {"a": "b"}}},
        {"accepts_incomplete": True},
    ],
)
def test_an_identical_provision_is_a_replay(changes: dict[str, Any]) -> None:
    """What differs in name only, or in how long the caller can wait, is the same request."""
    assert decide.decide_provision(a_provision(**changes), INSTANCE, None) == decide.Replay()


@pytest.mark.parametrize(
    "changes",
    [
        {"service_id": "other"},
        {"plan_id": "other"},
        {"parameters": {}},
        {"parameters": {"extensions": ["pg_trgm"]}},
        {"organization_guid": "other"},
        {"space_guid": None},
        {"context": {**INSTANCE.context, "namespace": "other"}},
        {"context": {}},
        {"maintenance_version": "0.9.0"},
    ],
)
@pytest.mark.parametrize("status", [Status.READY, Status.CREATING, Status.FAILED])
def test_other_attributes_are_a_conflict(changes: dict[str, Any], status: Status) -> None:
    """The same id with anything else that matters is refused, however far the first one got."""
    stored = replace(INSTANCE, status=status)
    with pytest.raises(Conflict):
        decide.decide_provision(a_provision(**changes), stored, PROVISION)


def test_a_provision_in_progress_is_awaited() -> None:
    """The same request again, while the first is in progress, leads to the same operation."""
    stored = replace(INSTANCE, status=Status.CREATING)
    assert decide.decide_provision(a_provision(), stored, PROVISION) == decide.Await(PROVISION)


@pytest.mark.parametrize("status", [Status.FAILED, Status.CREATING])
def test_an_unfinished_provision_is_run_again(status: Status) -> None:
    """The same request for what is not finished, and nobody is at work on, runs it again."""
    stored = replace(INSTANCE, status=status)
    assert decide.decide_provision(a_provision(), stored, None) == decide.Retry()


def test_what_is_being_deleted_is_not_provisioned() -> None:
    """A provision waits until the deletion of its id is done."""
    stored = replace(INSTANCE, status=Status.DELETING)
    with pytest.raises(ConcurrencyError):
        decide.decide_provision(a_provision(), stored, DEPROVISION)


def test_an_update_without_effect_is_a_replay() -> None:
    """An update to what is there already does nothing."""
    assert decide.decide_update(TARGET, INSTANCE, None) == decide.Replay()


@pytest.mark.parametrize(
    "changes",
    [
        {"plan_id": "big-id"},
        {"parameters": {}},
        {"context": {}},
        {"extensions": ()},
        {"maintenance_version": "1.1.0"},
    ],
)
def test_each_difference_makes_an_update(changes: dict[str, Any]) -> None:
    """Whatever the target has different is a change to carry out."""
    assert decide.decide_update(replace(TARGET, **changes), INSTANCE, None) == decide.Create()


def test_the_same_update_in_progress_is_awaited() -> None:
    """The same target as that of the running update leads to the same operation."""
    running = replace(UPDATE, target=TARGET)
    assert decide.decide_update(TARGET, INSTANCE, running) == decide.Await(running)


@pytest.mark.parametrize(
    "active", [PROVISION, DEPROVISION, BIND, UNBIND, replace(UPDATE, target=TARGET)]
)
def test_an_update_waits_for_everything_else(active: Any) -> None:
    """Anything else in progress, a different update included, is a concurrency error."""
    with pytest.raises(ConcurrencyError):
        decide.decide_update(replace(TARGET, plan_id="big-id"), INSTANCE, active)


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (Status.CREATING, ConcurrencyError),
        (Status.DELETING, ConcurrencyError),
        (Status.FAILED, Unprocessable),
    ],
)
def test_an_unfinished_instance_is_neither_updated_nor_bound(
    status: Status, refusal: type[Unprocessable]
) -> None:
    """Only an instance that is ready can be changed or bound."""
    stored = replace(INSTANCE, status=status)
    with pytest.raises(refusal):
        decide.decide_update(TARGET, stored, None)
    with pytest.raises(refusal):
        decide_bindings.decide_bind(a_bind(), stored, None, None, None)


@pytest.mark.parametrize("version", [None, "1.0.0"])
def test_the_current_maintenance_version_is_accepted(version: str | None) -> None:
    """The catalog's version, or none, is fine."""
    decide.check_maintenance(PLAN, version)


def test_another_maintenance_version_is_a_conflict() -> None:
    """A version the catalog does not have is refused, also where the plan has none at all."""
    with pytest.raises(MaintenanceInfoConflict, match=r"1\.0\.0"):
        decide.check_maintenance(PLAN, "1.0.1")
    with pytest.raises(MaintenanceInfoConflict, match="none"):
        decide.check_maintenance(replace(PLAN, maintenance_info=None), "1.0.0")


@pytest.mark.parametrize("current", [PLAN, BIG])
def test_offered_moves_between_plans_are_accepted(current: Any) -> None:
    """A plan may move to those it lists, and stay where it is."""
    decide.check_plan_change(current, BIG)


@pytest.mark.parametrize(
    ("current", "wanted", "reason"),
    [
        (BIG, PLAN, "cannot be updated to another plan"),
        (replace(PLAN, update_to=("large", "huge")), BIG, "can be updated to: large, huge"),
        (PLAN, replace(BIG, pool="other"), "another kind of server"),
        (PLAN, replace(BIG, provider="other"), "another kind of server"),
        (None, BIG, "no longer in the catalog"),
    ],
)
def test_other_moves_are_refused_with_the_reason(current: Any, wanted: Any, reason: str) -> None:
    """A move that is not offered says why, that the instance works, and that repeating is vain."""
    with pytest.raises(UpdateRefused, match=reason) as caught:
        decide.check_plan_change(current, wanted)
    assert caught.value.instance_usable is True
    assert caught.value.update_repeatable is False


def test_a_plan_too_small_for_the_data_is_refused() -> None:
    """More data than the plan allows is refused until data is deleted; exactly as much is fine."""
    decide.check_storage(PLAN, 1000)
    decide.check_storage(replace(PLAN, limits=replace(PLAN.limits, storage=None)), 10**15)
    with pytest.raises(UpdateRefused, match="1,001 bytes") as caught:
        decide.check_storage(PLAN, 1001)
    assert caught.value.update_repeatable is True


@pytest.mark.parametrize(
    "previous",
    [
        {},
        {"previous_service_id": "service-id", "previous_plan_id": "small-id"},
        {"previous_plan_id": "former-id"},
    ],
)
def test_previous_values_may_be_what_the_instance_was(previous: dict[str, str]) -> None:
    """A platform that missed an answer still says what it believes."""
    stored = replace(INSTANCE, former_plan_ids=("former-id",))
    decide.check_previous_values(an_update(**previous), stored)


@pytest.mark.parametrize("name", ["previous_service_id", "previous_plan_id"])
def test_other_previous_values_are_refused(name: str) -> None:
    """An update that starts from what the instance never was is for another instance."""
    with pytest.raises(InvalidRequest):
        decide.check_previous_values(an_update(**{name: "other"}), INSTANCE)


def test_ids_of_another_instance_are_refused() -> None:
    """A wrong service or plan is refused; a former plan passes only where it is told to."""
    stored = replace(INSTANCE, former_plan_ids=("former-id",))
    decide.check_ids(stored, service_id=None, plan_id=None)
    decide.check_ids(stored, service_id="service-id", plan_id="former-id", former_plans=True)
    wanted = replace(PLAN, id="wanted-id")
    decide.check_ids(stored, service_id=None, plan_id="wanted-id", wanted_plan=wanted)
    with pytest.raises(InvalidRequest):
        decide.check_ids(stored, service_id="other", plan_id=None)
    with pytest.raises(InvalidRequest):
        decide.check_ids(stored, service_id=None, plan_id="former-id")


@pytest.mark.parametrize(
    ("active", "decision"),
    [
        ([], decide.Create()),
        ([DEPROVISION], decide.Await(DEPROVISION)),
        *(([other], decide.Halt((other,))) for other in (PROVISION, UPDATE, BIND, UNBIND)),
        ([BIND, UNBIND], decide.Halt((BIND, UNBIND))),
    ],
)
def test_a_deprovision_ends_whatever_else_is_in_progress(active: Any, decision: Any) -> None:
    """Deleting halts what is being made (OSB API 2.17, "Deprovisioning")."""
    assert decide.decide_deprovision(active) == decision
