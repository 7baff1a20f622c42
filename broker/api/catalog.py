"""The answer to ``GET /v2/catalog``, rendered once.

Belongs here: from the domain's catalog to the specification's field names, and the conditional
request. What only the broker acts on (limits, pools, ...) stays behind.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from starlette.datastructures import Headers

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.types import ASGIApp, Receive, Scope, Send

    from broker.domain.catalog import Catalog, Offering, Plan

PATH = "/v2/catalog"


@dataclass(frozen=True, slots=True)
class CatalogDocument:
    """The catalog as bytes, with what caches need.

    Replicas with the same catalog answer with the same ``ETag``: it is derived from the body.
    ``Last-Modified`` is the date of the catalog file, which replicas may each have their own of (a
    mounted ConfigMap gets a new one); a platform that sends only ``If-Modified-Since`` then
    fetches an unchanged catalog once more, and no harm is done.

    Attributes:
        body: Compact JSON in UTF-8.
        etag: A strong validator, in its quotes.
        last_modified: An HTTP date.
    """

    body: bytes
    etag: str
    last_modified: str

    @classmethod
    def of(cls, catalog: Catalog, *, modified: datetime) -> CatalogDocument:
        """Render a catalog.

        Args:
            catalog: What to offer.
            modified: When its file was last modified, in UTC; fractions of seconds are dropped.
        """
        body = json.dumps(render_catalog(catalog), ensure_ascii=False, separators=(",", ":"))
        encoded = body.encode()
        etag = f'"{hashlib.sha256(encoded).hexdigest()[:32]}"'
        return cls(encoded, etag, format_datetime(modified, usegmt=True))

    def response(self, request: Request) -> Response:
        """Answer a request: 200 with the catalog, or 304 when the platform has it already.

        See OSB API 2.17, "Catalog Management", and RFC 9110, section 13.2.2: ``If-None-Match``
        takes precedence.
        """
        return self.answer(known=self.is_known(request.headers))

    def answer(self, *, known: bool) -> Response:
        """Return the one answer or the other.

        Args:
            known: The platform has this catalog already.
        """
        headers = {
            "ETag": self.etag,
            "Last-Modified": self.last_modified,
            # May be kept, must be revalidated; without this, a cache may guess how long it lasts.
            "Cache-Control": "private, no-cache",
        }
        if known:
            return Response(status_code=304, headers=headers)
        return Response(self.body, media_type="application/json", headers=headers)

    def is_known(self, headers: Headers) -> bool:
        """Tell from a request's headers whether the platform has this catalog already."""
        lines = headers.getlist("If-None-Match")
        if lines:
            tags = [tag.strip().removeprefix("W/") for tag in ",".join(lines).split(",")]
            return self.etag in tags or tags == ["*"]
        try:
            since = parsedate_to_datetime(headers.get("If-Modified-Since", ""))
            return parsedate_to_datetime(self.last_modified) <= since
        except (TypeError, ValueError, OverflowError):
            return False  # RFC 9110, section 13.1.3: a date that is none is ignored


class CatalogShortcut:
    """Answers ``GET /v2/catalog`` ahead of routing.

    Platforms ask for it over and over, and the framework's routing and argument handling would
    take twice as long as everything else about the answer.
    """

    def __init__(self, app: ASGIApp, *, document: CatalogDocument) -> None:
        """Stand between the gate and the routes.

        Args:
            app: The routes.
            document: The rendered catalog.
        """
        self._app = app
        self._document = document
        # Made once: nothing about them depends on the request, or changes when they are sent.
        self._answers = {known: document.answer(known=known) for known in (True, False)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        answer = self._app
        if scope["type"] == "http" and scope["path"] == PATH and scope["method"] == "GET":
            answer = self._answers[self._document.is_known(Headers(scope=scope))]
        await answer(scope, receive, send)


def render_catalog(catalog: Catalog) -> dict[str, Any]:
    """Return the body of ``GET /v2/catalog`` (OSB API 2.17, "Catalog Management")."""
    return {"services": [_offering(offering) for offering in catalog.offerings]}


def _offering(offering: Offering) -> dict[str, Any]:
    return {
        "id": offering.id,
        "name": offering.name,
        "description": offering.description,
        "tags": list(offering.tags),
        # The default of the plans, each of which says it for itself.
        "bindable": any(plan.bindable for plan in offering.plans),
        "instances_retrievable": True,
        "bindings_retrievable": True,
        "allow_context_updates": offering.allow_context_updates,
        "plan_updateable": any(plan.update_to for plan in offering.plans),
        "metadata": dict(offering.metadata),
        "plans": [_plan(plan) for plan in offering.plans],
    }


def _plan(plan: Plan) -> dict[str, Any]:
    rendered: dict[str, Any] = {
        "id": plan.id,
        "name": plan.name,
        "description": plan.description,
        "free": plan.free,
        "bindable": plan.bindable,
        "binding_rotatable": plan.bindable and plan.binding_rotatable,
        "plan_updateable": bool(plan.update_to),
        "metadata": dict(plan.metadata),
        "schemas": _schemas(plan),
    }
    if plan.maximum_polling_duration is not None:
        rendered["maximum_polling_duration"] = plan.maximum_polling_duration
    if plan.maintenance_info is not None:
        info = plan.maintenance_info
        rendered["maintenance_info"] = {"version": info.version}
        if info.description is not None:
            rendered["maintenance_info"]["description"] = info.description
    return rendered


def _schemas(plan: Plan) -> dict[str, Any]:
    schemas: dict[str, Any] = {
        "service_instance": {
            "create": {"parameters": plan.schemas["provision"]},
            "update": {"parameters": plan.schemas["update"]},
        }
    }
    if plan.bindable:
        schemas["service_binding"] = {"create": {"parameters": plan.schemas["bind"]}}
    return schemas
