"""Which plan is tried out, and what it is taken to be able to do."""

from __future__ import annotations

from typing import Any

import pytest

from broker.smoke.catalog import choose
from broker.smoke.errors import StepFailed


def _plan(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": f"{name}-id", "name": name, **fields}


def _catalog(*plans: dict[str, Any], **offering: Any) -> dict[str, Any]:
    return {
        "services": [
            {"id": "pg-id", "name": "pg", "bindable": True, "plans": [*plans], **offering},
            {"id": "x-id", "name": "x", "bindable": True, "plans": [_plan("only")]},
        ]
    }


def _bind_schema(properties: dict[str, Any]) -> dict[str, Any]:
    return {"schemas": {"service_binding": {"create": {"parameters": {"properties": properties}}}}}


def test_the_first_free_bindable_plan_is_the_default() -> None:
    """Nobody is charged for a smoke run unasked; a plan that says nothing is free."""
    catalog = _catalog(_plan("gold", free=False), _plan("shy", bindable=False), _plan("trial"))
    assert choose(catalog, service=None, plan=None).plan == "trial"


def test_plans_speak_for_themselves() -> None:
    """A plan may be bound although its offering cannot."""
    catalog = _catalog(_plan("a"), _plan("b", bindable=True), bindable=False)
    assert choose(catalog, service=None, plan=None).plan == "b"


@pytest.mark.parametrize("wanted", ["gold", "gold-id"])
def test_a_named_plan_may_cost(wanted: str) -> None:
    """Whoever names a plan, by name or id, gets it."""
    catalog = _catalog(_plan("trial"), _plan("gold", free=False))
    assert choose(catalog, service="pg", plan=wanted).plan == "gold"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (_bind_schema({"role": {"enum": ["read-write", "read-only"]}}), {"role": "read-only"}),
        (_bind_schema({"x": True, "Access": {"enum": [1, "READ"]}}), {"Access": "READ"}),
        (_bind_schema({"role": {"enum": ["writer", "owner"]}}), None),
        (_bind_schema({"role": {"type": "string"}}), None),
        ({"schemas": None}, None),
        ({}, None),
    ],
)
def test_reading_only_is_found_in_the_bind_schema(
    schema: dict[str, Any], expected: dict[str, str] | None
) -> None:
    """A parameter with a value that asks for reading only, whatever it is called."""
    assert choose(_catalog(_plan("p", **schema)), service=None, plan=None).read_only == expected


def test_only_what_is_promised_is_tried() -> None:
    """Fields that are missing, or are no booleans, promise nothing."""
    choice = choose(
        _catalog(_plan("p", binding_rotatable="yes", maintenance_info={"version": 3})),
        service=None,
        plan=None,
    )
    assert not choice.instances_retrievable
    assert not choice.bindings_retrievable
    assert not choice.rotatable
    assert choice.maintenance_version is None
    assert choice.polling_seconds is None


@pytest.mark.parametrize(
    ("catalog", "reason"),
    [
        ({}, "expected a list of 'services'"),
        ({"services": []}, "expected a list of 'services'"),
        ({"services": ["pg"]}, "one of its services has no id or no name"),
        (_catalog(), "expected a list of 'plans'"),
        (_catalog({"name": "nameless"}), "one of its plans has no id or no name"),
        (_catalog(_plan("gold", free=False)), "Choose one with --plan: gold."),
    ],
)
def test_a_catalog_with_nothing_to_try_is_refused(catalog: dict[str, Any], reason: str) -> None:
    """The message says what is missing, or what there is to choose from."""
    with pytest.raises(StepFailed, match=reason):
        choose(catalog, service=None, plan=None)
