"""From domain errors to HTTP: one table, one handler (OSB API 2.17, "Service Broker Errors")."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute, Match, Route

from broker.domain import errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fastapi import FastAPI
    from starlette.requests import Request

T = TypeVar("T")

STATUS: Mapping[type[errors.BrokerError], int] = {
    errors.InvalidRequest: 400,
    errors.UnsupportedAPIVersion: 412,
    errors.Unauthorized: 401,
    errors.NotFound: 404,
    errors.Gone: 410,
    errors.Conflict: 409,
    errors.Unprocessable: 422,
    errors.TemporaryFailure: 503,
    errors.PermanentFailure: 500,
    errors.BrokerError: 500,
}
"""The status of a class holds for its subclasses, unless they have one of their own."""

_HEADERS: Mapping[type[errors.BrokerError], Mapping[str, str]] = {
    errors.Unauthorized: {"WWW-Authenticate": 'Basic realm="pgbroker", charset="UTF-8"'},
    errors.TemporaryFailure: {"Retry-After": "5"},
}

_MOST_PROBLEMS = 5


def error_response(error: errors.BrokerError) -> JSONResponse:
    """Render a refusal or failure."""
    body: dict[str, Any] = {"description": error.description}
    if error.error is not None:
        body["error"] = error.error
    if error.instance_usable is not None:
        body["instance_usable"] = error.instance_usable
    if error.update_repeatable is not None:
        body["update_repeatable"] = error.update_repeatable
    return JSONResponse(body, _lookup(STATUS, error), headers=_lookup(_HEADERS, error, default={}))


def plain_error(
    status: int, description: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Render what goes wrong in HTTP itself."""
    return JSONResponse({"description": description}, status, headers=headers)


def install(app: FastAPI, routes: Sequence[BaseRoute]) -> None:
    """Make an application answer every error the way the specification wants.

    Args:
        app: The application.
        routes: All of its routes.
    """

    @app.exception_handler(errors.BrokerError)
    async def broker_error(request: Request, error: errors.BrokerError) -> JSONResponse:
        request.state.reason = error.description  # for the log
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        request.state.reason = _describe(error)
        # Not 422, the framework's own choice: that has other meanings in this protocol.
        return plain_error(400, request.state.reason)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        description, headers = error.detail, error.headers
        match error.status_code:
            case HTTPStatus.NOT_FOUND:
                description = "There is no such path; the API begins at /v2/."
            case HTTPStatus.METHOD_NOT_ALLOWED:
                allowed = ", ".join(sorted(_methods(routes, request)))
                description = f"{request.method} is not possible here, only: {allowed}."
                headers = {"Allow": allowed}
        request.state.reason = description
        return plain_error(error.status_code, description, headers)


def _methods(routes: Sequence[BaseRoute], request: Request) -> set[str]:
    """Return all methods of a path; the framework knows those of its first route only."""
    return {
        method
        for route in routes
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }


def _describe(error: RequestValidationError) -> str:
    """Say which fields are wrong and why, and repeat nothing that was sent."""
    problems = [
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}"
        if problem["type"] != "json_invalid"
        else str(problem["ctx"]["error"])
        for problem in error.errors()
    ]
    more = "" if len(problems) <= _MOST_PROBLEMS else f"; and {len(problems) - _MOST_PROBLEMS} more"
    return "The request is wrong: " + "; ".join(problems[:_MOST_PROBLEMS]) + more + "."


def _lookup(
    table: Mapping[type[errors.BrokerError], T], error: errors.BrokerError, default: T | None = None
) -> T:
    for kind in type(error).__mro__:
        if kind in table:
            return table[kind]
    if default is None:
        raise KeyError(type(error).__name__)
    return default
