"""Reading requests: the body as strict JSON, the caller, and what the path and query name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Path, Query, Request, Response
from fastapi.routing import APIRoute

from broker.api import wire
from broker.api.headers import CONTENT_TYPE, originating_identity
from broker.api.strict_json import parse_object
from broker.domain.instance import BindingKey, InstanceKey
from broker.domain.operation import Caller
from broker.service.context import Broker

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


class StrictRequest(Request):
    """A request whose JSON is parsed strictly."""

    async def json(self) -> dict[str, Any]:
        """Return the body, which must be a JSON object.

        Raises:
            json.JSONDecodeError: It is not; FastAPI reports that as a validation error.
        """
        try:
            return parse_object(await self.body())
        except ValueError as exc:
            raise json.JSONDecodeError(str(exc), "", 0) from exc


class StrictRoute(APIRoute):
    """A route that reads its body with ``StrictRequest``, whatever ``Content-Type`` says."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the framework's handler."""
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            # The framework reads JSON only where the header says so, or says nothing.
            headers = [pair for pair in request.scope["headers"] if pair[0] != CONTENT_TYPE]
            scope = {**request.scope, "headers": headers}
            return await handle(StrictRequest(scope, request.receive))

        return strict


# The framework runs what is not a coroutine in a thread, which takes longer than any of these.


async def _caller(request: Request) -> Caller:
    return Caller(
        platform=request.state.platform,
        request_id=request.state.request_id,
        identity=originating_identity(request.headers.get("X-Broker-API-Originating-Identity")),
    )


CallerOf = Annotated[Caller, Depends(_caller)]

_Id = Annotated[str, Path(min_length=1, max_length=255)]


async def _instance(caller: CallerOf, instance_id: _Id) -> InstanceKey:
    return InstanceKey(caller.platform, instance_id)


InstanceOf = Annotated[InstanceKey, Depends(_instance)]


async def _binding(instance: InstanceOf, binding_id: _Id) -> BindingKey:
    return BindingKey(instance, binding_id)


BindingOf = Annotated[BindingKey, Depends(_binding)]


Hints = Annotated[wire.Hints, Query()]
Poll = Annotated[wire.Poll, Query()]
Patience = Annotated[wire.Patience, Query()]
Deletion = Annotated[wire.Deletion, Query()]


async def _broker(request: Request) -> Broker:
    broker: Broker = request.app.state.broker
    return broker


BrokerOf = Annotated[Broker, Depends(_broker)]
