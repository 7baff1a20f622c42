"""The ten routes of the Open Service Broker API, on one screen.

Each turns HTTP into a domain request, calls one verb, and turns the outcome into an answer.
"""

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse as Json

from broker.api import wire
from broker.api.requests import (
    BindingOf,
    BrokerOf,
    CallerOf,
    Deletion,
    Hints,
    InstanceOf,
    Patience,
    Poll,
    StrictRoute,
)
from broker.service.bind import bind
from broker.service.context import Outcome, Progress
from broker.service.deprovision import deprovision
from broker.service.fetch import fetch_binding, fetch_instance
from broker.service.last_operation import last_operation
from broker.service.provision import provision
from broker.service.unbind import unbind
from broker.service.update import update

if TYPE_CHECKING:
    from broker.api.catalog import CatalogDocument

INSTANCE = "/v2/service_instances/{instance_id}"
BINDING = INSTANCE + "/service_bindings/{binding_id}"

router = APIRouter(route_class=StrictRoute)


@router.get("/v2/catalog")
async def catalog(request: Request) -> Response:
    """Catalog Management."""
    document: CatalogDocument = request.app.state.catalog
    return document.response(request)


@router.put(INSTANCE, status_code=201)
async def put_instance(
    broker: BrokerOf, who: CallerOf, key: InstanceOf, query: Patience, body: wire.ProvisionBody
) -> Response:
    """Provisioning."""
    return _answer(await provision(broker, body.request(who, key, query)), done=201)


@router.get(INSTANCE)
async def get_instance(broker: BrokerOf, who: CallerOf, key: InstanceOf, query: Hints) -> Response:
    """Fetching a Service Instance."""
    return Json(wire.instance_body(await fetch_instance(broker, key, query.request(who))))


@router.patch(INSTANCE)
async def patch_instance(
    broker: BrokerOf, who: CallerOf, key: InstanceOf, query: Patience, body: wire.UpdateBody
) -> Response:
    """Updating a Service Instance."""
    return _answer(await update(broker, body.request(who, key, query)), done=200)


@router.delete(INSTANCE)
async def delete_instance(
    broker: BrokerOf, who: CallerOf, key: InstanceOf, query: Deletion
) -> Response:
    """Deprovisioning."""
    return _answer(await deprovision(broker, query.deprovision(who, key)), done=200)


@router.get(INSTANCE + "/last_operation")
async def poll_instance(broker: BrokerOf, who: CallerOf, key: InstanceOf, query: Poll) -> Response:
    """Polling Last Operation for Service Instances."""
    return Json(wire.operation_body(await last_operation(broker, query.poll(who, key))))


@router.put(BINDING, status_code=201)
async def put_binding(
    broker: BrokerOf, who: CallerOf, key: BindingOf, query: Patience, body: wire.BindBody
) -> Response:
    """Binding, and Binding Rotation."""
    outcome = await bind(broker, body.request(who, key, query))
    return _answer(outcome, done=201, body=wire.bind_body(outcome.view))


@router.get(BINDING)
async def get_binding(broker: BrokerOf, who: CallerOf, key: BindingOf, query: Hints) -> Response:
    """Fetching a Service Binding."""
    return Json(wire.binding_body(await fetch_binding(broker, key, query.request(who))))


@router.delete(BINDING)
async def delete_binding(
    broker: BrokerOf, who: CallerOf, key: BindingOf, query: Deletion
) -> Response:
    """Unbinding."""
    return _answer(await unbind(broker, query.unbind(who, key)), done=200)


@router.get(BINDING + "/last_operation")
async def poll_binding(broker: BrokerOf, who: CallerOf, key: BindingOf, query: Poll) -> Response:
    """Polling Last Operation for Service Bindings."""
    request = query.poll(who, key.instance, key.binding_id)
    return Json(wire.operation_body(await last_operation(broker, request)))


def _answer(outcome: Outcome, *, done: int, body: dict[str, Any] | None = None) -> Response:
    match outcome.progress:
        case Progress.DONE:
            return Json(body or {}, done)
        case Progress.UNCHANGED:
            return Json(body or {}, 200)
        case Progress.ACCEPTED:
            return Json({"operation": str(outcome.operation_id)}, 202)
