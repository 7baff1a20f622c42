"""The OpenAPI document against the running broker: generated requests, good and bad."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from broker.api.app import ROUTES
from broker.api.openapi import document
from tests.support.application import KUBERNETES
from tests.support.catalog import SERVICE, SMALL

if TYPE_CHECKING:
    from tests.support.application import Application

IDS = ["first", "second"]
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def _with_our_ids(narrowed: dict[str, Any]) -> dict[str, Any]:
    """Narrow ids to few, so that generated requests meet what earlier ones have made."""
    choices = {"service_id": [SERVICE], "plan_id": [SMALL], "predecessor_binding_id": [None, *IDS]}
    for name in ("ProvisionBody", "UpdateBody", "BindBody"):
        properties = narrowed["components"]["schemas"][name]["properties"]
        for field in properties.keys() & choices.keys():
            properties[field] = {"enum": choices[field]}
        properties["parameters"] = {"enum": [None, {}]}
    for operations in narrowed["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] in choices:
                    parameter["schema"] = {"enum": choices[parameter["name"]]}
                elif parameter["in"] == "path":
                    parameter["schema"] = {"enum": IDS}
    return narrowed


ANY_IDS = schemathesis.openapi.from_dict(document(ROUTES))
OUR_IDS = schemathesis.openapi.from_dict(_with_our_ids(document(ROUTES)))

# Always the same requests: a run that fails has to fail again.
BOUNDED = settings(
    max_examples=15,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@ANY_IDS.parametrize()
@BOUNDED
def test_any_request_is_answered_as_documented(
    case: schemathesis.Case[Any], application: Application
) -> None:
    """Whatever is sent, the answer has a documented status and body, and is no 5xx."""
    case.call_and_validate(application.url, auth=KUBERNETES, checks=CHECKS)


@OUR_IDS.parametrize()
@BOUNDED
def test_any_life_is_answered_as_documented(
    case: schemathesis.Case[Any], application: Application
) -> None:
    """Requests that meet each other's instances and bindings are answered as documented, too."""
    case.call_and_validate(application.url, auth=KUBERNETES, checks=CHECKS)
