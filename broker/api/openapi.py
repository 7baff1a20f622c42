"""The OpenAPI document: what the routes cannot say about themselves.

The framework derives paths, queries and bodies from the routes. Belongs here: the headers that
every request has, who may call, and one table of what each operation answers.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from broker import __version__
from broker.api.limits import MAX_ID_LENGTH
from broker.domain.operation import OperationState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.routing import BaseRoute

Schema = dict[str, Any]

_TEXT = {"type": "string", "minLength": 1}
_MOMENT = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\dZ$"}
_REFUSED = (400, 401, 408, 412, 413, 431, 500, 503)
"""What any request of the protocol may be answered with."""

_ANSWERS: dict[str, tuple[dict[int, str | None], tuple[int, ...]]] = {
    "healthz": ({200: "Health"}, ()),
    "readyz": ({200: "Health"}, (503,)),
    "metrics": ({200: "Metrics"}, ()),
    "catalog": ({200: "Catalog", 304: None}, _REFUSED),
    "put_instance": ({200: "Empty", 201: "Empty", 202: "Accepted"}, (*_REFUSED, 409, 422)),
    "get_instance": ({200: "Instance"}, (*_REFUSED, 404, 422)),
    "patch_instance": ({200: "Empty", 202: "Accepted"}, (*_REFUSED, 404, 422)),
    "delete_instance": ({200: "Empty", 202: "Accepted"}, (*_REFUSED, 410, 422)),
    "poll_instance": ({200: "LastOperation"}, (*_REFUSED, 404, 410)),
    "put_binding": ({200: "Bound", 201: "Bound", 202: "Accepted"}, (*_REFUSED, 404, 409, 422)),
    "get_binding": ({200: "Binding"}, (*_REFUSED, 404)),
    "delete_binding": ({200: "Empty", 202: "Accepted"}, (*_REFUSED, 410, 422)),
    "poll_binding": ({200: "LastOperation"}, (*_REFUSED, 404, 410)),
}
"""By the name of the route: the schema of each good answer, and the statuses of refusals."""


def _object(required: tuple[str, ...] = (), **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_BOUND = {
    "credentials": _object(
        ("type", "host", "port", "database", "username", "password", "uri"),
        **dict.fromkeys(
            (
                "type",
                "provider",
                "host",
                "port",
                "database",
                "username",
                "password",
                "sslmode",
                "uri",
                "jdbc_url",
                "ca_certificate",
            ),
            _TEXT,
        ),
    ),
    "endpoints": {
        "type": "array",
        "items": _object(
            ("host", "ports"),
            host=_TEXT,
            ports={"type": "array", "items": _TEXT, "minItems": 1},
            protocol={"enum": ["tcp"]},
        ),
    },
    "metadata": _object(expires_at=_MOMENT, renew_before=_MOMENT),
}

_SCHEMAS: dict[str, Schema] = {
    "Error": _object(
        ("description",),
        error=_TEXT,
        description=_TEXT,
        instance_usable={"type": "boolean"},
        update_repeatable={"type": "boolean"},
    ),
    "Empty": _object(),
    "Accepted": _object(("operation",), operation={**_TEXT, "maxLength": 10_000}),
    "Health": _object(("status",), status=_TEXT),
    "Metrics": _TEXT,
    "Catalog": _object(
        ("services",),
        services={
            "type": "array",
            "items": {
                "type": "object",
                "required": ["id", "name", "description", "bindable", "plans"],
            },
        },
    ),
    "Instance": _object(
        ("service_id", "plan_id", "parameters"),
        service_id=_TEXT,
        plan_id=_TEXT,
        parameters={"type": "object"},
        maintenance_info=_object(("version",), version=_TEXT),
        metadata=_object(
            ("attributes",),
            attributes=_object(
                (
                    "storage_limit_bytes",
                    "storage_used_bytes",
                    "storage_measured_at",
                    "read_only",
                ),
                storage_limit_bytes={"type": "integer"},
                storage_used_bytes={"type": "integer"},
                storage_measured_at=_MOMENT,
                read_only={"type": "boolean"},
                notice=_TEXT,
            ),
        ),
    ),
    "Bound": _object(("credentials", "endpoints"), **_BOUND),
    "Binding": _object(
        # The password of a binding that was recovered from its server is lost.
        ("endpoints", "parameters"),
        **_BOUND,
        parameters={"type": "object"},
    ),
    "LastOperation": _object(
        ("state",),
        state={"enum": [state.value for state in OperationState]},
        description=_TEXT,
        instance_usable={"type": "boolean"},
        update_repeatable={"type": "boolean"},
    ),
}

_HEADERS = [
    {
        "name": "X-Broker-API-Version",
        "in": "header",
        "required": True,
        "schema": {"type": "string", "pattern": r"^2\.(0|[1-9][0-9]{0,3})$"},
        "example": "2.17",
    },
    {
        "name": "X-Broker-API-Originating-Identity",
        "in": "header",
        "required": False,
        "schema": {"type": "string"},
        "example": "kubernetes eyJ1c2VybmFtZSI6ICJqYW5lIn0=",
    },
    {
        "name": "X-Broker-API-Request-Identity",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "maxLength": MAX_ID_LENGTH},
        "example": "e26cee84-6b38-4456-b34e-d1a9f002c956",
    },
]


def document(routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """Return the OpenAPI document of these routes."""
    made = get_openapi(
        title="pgbroker",
        summary="Open Service Broker API 2.17 for PostgreSQL",
        version=__version__,
        routes=routes,
    )
    components = made["components"]
    components["schemas"] |= _SCHEMAS
    for name in ("HTTPValidationError", "ValidationError"):
        del components["schemas"][name]
    components["securitySchemes"] = {"basic": {"type": "http", "scheme": "basic"}}
    for route in routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            for method in route.methods or ():
                _complete(made["paths"][route.path_format][method.lower()], route)
    return made


def _complete(operation: dict[str, Any], route: APIRoute) -> None:
    operation["operationId"] = route.name
    operation["summary"] = operation.pop("description").rstrip(".")
    operation["responses"] = _responses(route.name)
    if route.path.startswith("/v2/"):
        operation["security"] = [{"basic": []}]
        operation["parameters"] = [*operation.get("parameters", ()), *_HEADERS]


def _responses(operation: str) -> dict[str, Any]:
    good, refused = _ANSWERS[operation]
    schemas = {**good, **dict.fromkeys(refused, "Error")}
    return {str(status): _response(status, schemas[status]) for status in sorted(schemas)}


def _response(status: int, schema: str | None) -> dict[str, Any]:
    described: dict[str, Any] = {"description": HTTPStatus(status).phrase}
    if schema is not None:
        reference = {"$ref": f"#/components/schemas/{schema}"}
        media = "text/plain" if schema == "Metrics" else "application/json"
        described["content"] = {media: {"schema": reference}}
    return described
