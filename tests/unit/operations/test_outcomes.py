"""How the end of an operation is explained, and what a refusal takes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from broker.domain.errors import (
    BrokerError,
    PermanentFailure,
    ServerUnavailable,
    TemporaryFailure,
    Unprocessable,
    UpdateRefused,
)
from broker.domain.instance import Status
from broker.domain.operation import OperationKind, Work
from broker.operations.outcomes import explain, must_withdraw, record_failure, recorded_failure
from tests.unit.domain.examples import BINDING, INSTANCE, an_operation

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = list(OperationKind)
REASONS: list[Callable[[], BrokerError]] = [
    lambda: Unprocessable("no"),
    lambda: UpdateRefused("no", instance_usable=True, update_repeatable=True),
    lambda: TemporaryFailure("no"),
    lambda: ServerUnavailable("no"),
    lambda: PermanentFailure("no"),
]


def _work(kind: OperationKind) -> Work:
    return Work(an_operation(kind), INSTANCE, (BINDING,))


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("kind", KINDS)
def test_an_explanation_keeps_class_and_words(
    kind: OperationKind, reason: Callable[[], BrokerError]
) -> None:
    """What the caller is told is what happened, whatever the operation."""
    given = reason()
    explained = explain(_work(kind), given)
    assert type(explained) is type(given)
    assert explained.description == "no"


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize(
    "kind", [OperationKind.PROVISION, OperationKind.BIND, OperationKind.UNBIND]
)
def test_fields_of_updates_stay_with_updates(
    kind: OperationKind, reason: Callable[[], BrokerError]
) -> None:
    """OSB API 2.17 forbids both fields in errors of operations they do not belong to."""
    given = reason()
    given.instance_usable = given.update_repeatable = False
    explained = explain(_work(kind), given)
    assert (explained.instance_usable, explained.update_repeatable) == (None, None)


@pytest.mark.parametrize(
    ("reason", "repeatable"),
    [
        (Unprocessable("no"), False),
        (UpdateRefused("no", instance_usable=True, update_repeatable=True), True),
        (UpdateRefused("no", instance_usable=True, update_repeatable=False), False),
        (TemporaryFailure("no"), True),
        (PermanentFailure("no"), True),
    ],
)
def test_a_failed_update_leaves_a_usable_instance(reason: BrokerError, repeatable: bool) -> None:
    """An update changes all or nothing; whether it can be repeated is said, or follows."""
    explained = explain(_work(OperationKind.UPDATE), reason)
    assert explained.instance_usable is True
    assert explained.update_repeatable is repeatable


def test_an_update_that_fails_for_a_lost_database_leaves_nothing_to_use() -> None:
    """Who found out that the database is gone has said so; an explanation does not deny it."""
    lost = PermanentFailure("no", instance_usable=False, update_repeatable=False)
    explained = explain(_work(OperationKind.UPDATE), lost)
    assert (explained.instance_usable, explained.update_repeatable) == (False, False)


def test_a_failed_deprovision_leaves_nothing_to_use() -> None:
    """What is half deleted must not be bound any more."""
    reason = TemporaryFailure("no", update_repeatable=False)
    explained = explain(_work(OperationKind.DEPROVISION), reason)
    assert explained.instance_usable is False
    assert explained.update_repeatable is None


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_refused_provision_is_taken_back(kind: OperationKind) -> None:
    """A 4xx must leave nothing behind; what may succeed when repeated is kept for that."""
    work = _work(kind)
    assert must_withdraw(work, Unprocessable("no")) is (kind is OperationKind.PROVISION)
    assert not must_withdraw(work, TemporaryFailure("no"))
    assert not must_withdraw(work, PermanentFailure("no"))


class _State:
    """A transaction that remembers which status was set of what."""

    def __init__(self) -> None:
        self.statuses: list[tuple[object, Status]] = []
        self.removed: list[object] = []

    async def set_instance_status(self, key: object, status: Status) -> None:
        self.statuses.append((key, status))

    async def set_binding_status(self, key: object, status: Status) -> None:
        self.statuses.append((key, status))

    async def remove_instance(self, key: object) -> None:
        self.removed.append(key)


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        (OperationKind.PROVISION, [(INSTANCE.key, Status.FAILED)]),
        (OperationKind.BIND, [(BINDING.key, Status.FAILED)]),
        (OperationKind.UPDATE, []),
        (OperationKind.DEPROVISION, []),
        (OperationKind.UNBIND, []),
    ],
)
async def test_what_could_not_be_made_has_failed(
    kind: OperationKind, statuses: list[tuple[object, Status]]
) -> None:
    """So it is counted, and its platform can delete it; anything else is as it was."""
    state: Any = _State()
    await record_failure(state, _work(kind), withdrawn=False)
    assert state.statuses == statuses
    assert state.removed == []


def test_whoever_waits_for_another_is_told_the_same() -> None:
    """A second request for the same update gets class, words and both fields of the first."""
    reason = UpdateRefused("no", instance_usable=False, update_repeatable=True)
    told = recorded_failure(an_operation(OperationKind.UPDATE).failed(reason))
    assert type(told) is UpdateRefused
    assert (told.description, told.instance_usable, told.update_repeatable) == ("no", False, True)
