"""Which steps an operation consists of, in which order, and what it needs for that."""

from __future__ import annotations

from dataclasses import replace

import pytest

from broker.domain.catalog import Catalog, Offering
from broker.domain.errors import PermanentFailure
from broker.domain.operation import OperationKind, UpdateTarget, Work
from broker.domain.storage import StorageState
from broker.operations.steps import steps_of
from broker.store import EncryptedTags, KeyRing
from tests.unit.domain.examples import BIG, BINDING, INSTANCE, PLAN, an_operation

CATALOG = Catalog((Offering(INSTANCE.service_id, "databases", "Some.", (PLAN, BIG)),))
NO_PLANS = Catalog((Offering(INSTANCE.service_id, "databases", "Some.", ()),))
TAGS = EncryptedTags(KeyRing([(INSTANCE.tag_key_id, bytes(32))]))
TARGET = UpdateTarget(BIG.id, {}, {}, ("citext",), None)


def _work(kind: OperationKind) -> Work:
    target = TARGET if kind is OperationKind.UPDATE else None
    return Work(an_operation(kind, target=target), INSTANCE, (BINDING,))


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (
            OperationKind.PROVISION,
            ["adopt_database", "ensure_roles", "ensure_database", "initialise_database"],
        ),
        (OperationKind.UPDATE, ["adopt_database", "change_database"]),
        (OperationKind.BIND, ["adopt_database", "ensure_login"]),
        (OperationKind.UNBIND, ["drop_login"]),
        (OperationKind.DEPROVISION, ["adopt_database", "drop_database"]),
    ],
)
def test_the_steps_of_each_operation(kind: OperationKind, names: list[str]) -> None:
    """Their names and their order are what crash tests and the log go by."""
    steps = steps_of(_work(kind), catalog=CATALOG, tags=TAGS)
    assert [step.name for step in steps] == names


def test_a_full_database_is_released_before_its_plan_changes() -> None:
    """What cannot be taken back is the last step, so that a failed update has changed nothing."""
    full = replace(_work(OperationKind.UPDATE).instance, storage=StorageState.FULL)
    work = replace(_work(OperationKind.UPDATE), instance=full)
    steps = steps_of(work, catalog=CATALOG, tags=TAGS)
    assert [step.name for step in steps] == ["adopt_database", "allow_writes", "change_database"]


@pytest.mark.parametrize(
    "kind", [OperationKind.PROVISION, OperationKind.UPDATE, OperationKind.BIND]
)
def test_what_is_made_needs_its_plan(kind: OperationKind) -> None:
    """Without the limits of a plan nothing is made, and the operator is asked for the plan."""
    with pytest.raises(PermanentFailure, match="put it back"):
        steps_of(_work(kind), catalog=NO_PLANS, tags=TAGS)


@pytest.mark.parametrize("kind", [OperationKind.UNBIND, OperationKind.DEPROVISION])
def test_what_is_taken_away_needs_no_plan(kind: OperationKind) -> None:
    """A plan that has left the catalog stands in the way of no deletion."""
    assert steps_of(_work(kind), catalog=NO_PLANS, tags=TAGS)


def test_an_update_without_a_target_is_refused() -> None:
    """A record that does not say what it leads to leads to nothing."""
    work = _work(OperationKind.UPDATE)
    aimless = replace(work, operation=replace(work.operation, target=None))
    with pytest.raises(PermanentFailure, match="without what it leads to"):
        steps_of(aimless, catalog=CATALOG, tags=TAGS)
