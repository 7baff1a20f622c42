"""The catalog document: its fields, and its conditional requests."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.requests import Request

from broker.api.catalog import CatalogDocument
from broker.domain.catalog import (
    BindingPolicy,
    Catalog,
    Extensions,
    MaintenanceInfo,
    Offering,
    Plan,
)
from broker.domain.database import Access, Limits

MODIFIED = datetime(2026, 11, 23, 22, 40, 5, tzinfo=UTC)
HTTP_DATE = "Mon, 23 Nov 2026 22:40:05 GMT"

SCHEMAS: dict[str, dict[str, Any]] = {
    "provision": {"title": "provision"},
    "update": {"title": "update"},
    "bind": {"title": "bind"},
}
BINDINGS = BindingPolicy({"rw": Access.WRITE}, "rw", timedelta(days=90), timedelta(days=7))

SMALL = Plan(
    id="small-id",
    name="small",
    description="Klein, aber fein: ½ GiB",
    limits=Limits(connections=5, connections_per_binding=3, storage=2**30),
    bindings=BINDINGS,
    extensions=Extensions(("citext",), ("citext",)),
    pool="secret-pool",
    update_to=("big",),
    free=False,
    maximum_polling_duration=600,
    maintenance_info=MaintenanceInfo("1.2.3", "News."),
    metadata={"bullets": ["a"], "costs": [{"amount": {"eur": 8.0}, "unit": "MONTHLY"}]},
    schemas=SCHEMAS,
)
BIG = Plan(
    id="big-id",
    name="big",
    description="Big",
    limits=Limits(connections=50, connections_per_binding=50),
    bindings=BINDINGS,
    asynchronous=True,
    bindable=False,
    maintenance_info=MaintenanceInfo("2.0.0"),
    schemas=SCHEMAS,
)
CATALOG = Catalog(
    (
        Offering(
            id="offering-id",
            name="postgres",
            description="A database.",
            plans=(SMALL, BIG),
            tags=("sql",),
            metadata={"displayName": "PostgreSQL"},
            allow_context_updates=False,
        ),
    )
)


def _document(catalog: Catalog = CATALOG) -> CatalogDocument:
    return CatalogDocument.of(catalog, modified=MODIFIED)


def _request(*headers: tuple[str, str]) -> Request:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    return Request({"type": "http", "method": "GET", "path": "/v2/catalog", "headers": raw})


def test_the_document_has_exactly_the_fields_of_the_specification() -> None:
    """Every field is the specification's; what only the broker acts on stays behind."""
    (service,) = json.loads(_document().body)["services"]
    small, big = service.pop("plans")
    assert service == {
        "id": "offering-id",
        "name": "postgres",
        "description": "A database.",
        "tags": ["sql"],
        "bindable": True,
        "instances_retrievable": True,
        "bindings_retrievable": True,
        "allow_context_updates": False,
        "plan_updateable": True,
        "metadata": {"displayName": "PostgreSQL"},
    }
    assert small == {
        "id": "small-id",
        "name": "small",
        "description": "Klein, aber fein: ½ GiB",
        "free": False,
        "bindable": True,
        "binding_rotatable": True,
        "plan_updateable": True,
        "maximum_polling_duration": 600,
        "maintenance_info": {"version": "1.2.3", "description": "News."},
        "metadata": {"bullets": ["a"], "costs": [{"amount": {"eur": 8.0}, "unit": "MONTHLY"}]},
        "schemas": {
            "service_instance": {
                "create": {"parameters": {"title": "provision"}},
                "update": {"parameters": {"title": "update"}},
            },
            "service_binding": {"create": {"parameters": {"title": "bind"}}},
        },
    }
    assert big["maintenance_info"] == {"version": "2.0.0"}
    assert "maximum_polling_duration" not in big


def test_a_plan_without_bindings_neither_rotates_nor_publishes_their_schema() -> None:
    """What cannot be bound has no schema for it."""
    big = json.loads(_document().body)["services"][0]["plans"][1]
    assert (big["bindable"], big["binding_rotatable"], big["plan_updateable"]) == (
        False,
        False,
        False,
    )
    assert "service_binding" not in big["schemas"]


def test_the_etag_depends_on_the_content_and_on_nothing_else() -> None:
    """Replicas with the same catalog agree, whenever each one's file was written."""
    other = Catalog((Offering("o", "o", "Other.", (BIG,)),))
    later = CatalogDocument.of(CATALOG, modified=MODIFIED + timedelta(days=1))
    assert _document().etag == later.etag
    assert _document().etag != _document(other).etag
    assert _document().last_modified == HTTP_DATE


def test_without_a_condition_the_catalog_is_sent() -> None:
    """A plain request gets the body, with what a cache needs to ask again."""
    document = _document()
    response = document.response(_request())
    assert (response.status_code, response.body) == (200, document.body)
    assert response.headers["content-type"] == "application/json"
    assert response.headers["etag"] == document.etag
    assert response.headers["last-modified"] == HTTP_DATE
    assert response.headers["cache-control"] == "private, no-cache"


ETAG = _document().etag
NO_MATCH = '"something-else"'


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("If-None-Match", ETAG)], 304),
        ([("If-None-Match", f"W/{ETAG}")], 304),
        ([("If-None-Match", f"{NO_MATCH}, {ETAG}")], 304),
        ([("If-None-Match", NO_MATCH), ("If-None-Match", ETAG)], 304),
        ([("If-None-Match", "*")], 304),
        ([("If-None-Match", NO_MATCH)], 200),
        ([("If-None-Match", ETAG.strip('"'))], 200),
        ([("If-None-Match", "")], 200),
        ([("If-Modified-Since", HTTP_DATE)], 304),
        ([("If-Modified-Since", "Mon, 23 Nov 2026 22:40:06 GMT")], 304),
        ([("If-Modified-Since", "Mon, 23 Nov 2026 22:40:04 GMT")], 200),
        ([("If-Modified-Since", "yesterday")], 200),
        ([("If-Modified-Since", "Mon, 23 Nov 2026 22:40:05 -0000")], 200),
        ([("If-Modified-Since", "Mon, 23 Nov 99999999999999999999 22:40:05 GMT")], 200),
        ([("If-Modified-Since", "")], 200),
        ([("If-None-Match", NO_MATCH), ("If-Modified-Since", HTTP_DATE)], 200),
        ([("If-None-Match", ETAG), ("If-Modified-Since", "yesterday")], 304),
    ],
)
def test_a_condition_decides_whether_the_catalog_is_sent(
    headers: list[tuple[str, str]], status: int
) -> None:
    """What the platform has already is not sent again; ``If-None-Match`` takes precedence."""
    response = _document().response(_request(*headers))
    assert response.status_code == status
    assert response.body == (b"" if status == 304 else _document().body)
    assert response.headers["etag"] == ETAG
