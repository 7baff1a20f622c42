"""The ASGI application: routes behind the gate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from broker.api import errors, health, metrics, openapi, routes
from broker.api.catalog import CatalogShortcut
from broker.api.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from broker.api.authentication import Authenticator
    from broker.api.catalog import CatalogDocument
    from broker.service.context import Broker


ROUTES = (*health.router.routes, *metrics.router.routes, *routes.router.routes)


class BrokerAPI(FastAPI):
    """The framework's application, with the whole truth in its OpenAPI document."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, for tools and tests; platforms never ask for it."""
        return openapi.document(ROUTES)


def create_app(
    *,
    broker: Broker,
    catalog: CatalogDocument,
    authenticator: Authenticator,
    check_ready: Callable[[], Awaitable[None]],
    max_body_bytes: int,
    lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None,
) -> FastAPI:
    """Build the application.

    Args:
        broker: What the verbs work with.
        catalog: The rendered catalog.
        authenticator: Knows the platforms.
        check_ready: Raises a ``BrokerError`` that says why the broker cannot work.
        max_body_bytes: The largest request body.
        lifespan: Opens and closes what the broker works with.
    """
    app = BrokerAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # A redirect would be followed without the credentials, or with another method.
        redirect_slashes=False,
        strict_content_type=False,
        lifespan=lifespan,
    )
    app.state.broker = broker
    app.state.catalog = catalog
    app.state.check_ready = check_ready
    app.state.request_times = request_times = metrics.RequestTimes()
    app.include_router(health.router)
    app.include_router(metrics.router)
    app.include_router(routes.router)
    errors.install(app, ROUTES)
    app.add_middleware(CatalogShortcut, document=catalog)
    app.add_middleware(
        Gate,
        authenticator=authenticator,
        max_body_bytes=max_body_bytes,
        observe=request_times.observe,
    )
    return app
