"""The boundaries of every kind of operation, from the product's own steps."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

from broker.config import parse_catalog
from broker.domain.credentials import generate_login_secret
from broker.domain.database import Access
from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey
from broker.domain.operation import Caller, Operation, OperationKind, UpdateTarget, Work
from broker.operations.steps import steps_of
from broker.store import EncryptedTags, KeyRing
from tests.support.catalog import CATALOG, SERVICE, SMALL
from tests.support.faults_failpoints import Boundary

_KEYS = KeyRing([("k", bytes(32))])
_NOW = datetime.now(UTC)
_INSTANCE = Instance(
    key=InstanceKey("default", "instance"),
    service_id=SERVICE,
    plan_id=SMALL,
    parameters={},
    context={},
    server="shared",
    database="d",
    owner="d_owner",
    tag_key_id="k",
    created_at=_NOW,
)
_BINDING = Binding(
    key=BindingKey(_INSTANCE.key, "binding"),
    parameters={},
    context={},
    login="u",
    access=Access.WRITE,
    secret=generate_login_secret(),
    created_at=_NOW,
)


def first_step(kind: str) -> str:
    """Return the name of the first step of an operation."""
    return boundaries(OperationKind(kind))[2][1]


def boundaries(*kinds: OperationKind) -> list[tuple[str, str]]:
    """Return the kind and the name of each boundary, in order.

    Args:
        kinds: All of them, when none is named.
    """
    found: list[tuple[str, str]] = []
    catalog = parse_catalog(CATALOG, "catalog.yaml")
    for kind in kinds or OperationKind:
        operation = Operation(
            id=uuid4(),
            kind=kind,
            instance=_INSTANCE.key,
            caller=Caller("default", "request"),
            lease_token=uuid4(),
            started_at=_NOW,
        )
        if kind is OperationKind.UPDATE:
            operation = replace(operation, target=UpdateTarget(SMALL, {}, {}, (), None))
        work = Work(operation, _INSTANCE, (_BINDING,))
        steps = steps_of(work, catalog=catalog, tags=EncryptedTags(_KEYS))
        found += (
            (kind.value, name)
            for name in (
                Boundary.RECORDING,
                Boundary.RECORDED,
                *(step.name for step in steps),
                Boundary.FINISHING,
                Boundary.FINISHED,
            )
        )
    return found
