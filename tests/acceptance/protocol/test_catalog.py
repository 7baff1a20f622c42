"""``GET /v2/catalog`` (OSB API 2.17, "Catalog Management")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.catalog import SERVICE, SLOW, SMALL, UNBOUND

if TYPE_CHECKING:
    from tests.support.platform import Platform

CATALOG = "/v2/catalog"


def test_the_catalog_is_what_is_configured(kubernetes: Platform) -> None:
    """Offerings and plans come with the fields platforms read, and none that only we act on."""
    response = kubernetes.http.get(CATALOG)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    offering = response.json()["services"][0]
    assert offering["id"] == SERVICE
    assert offering["instances_retrievable"] is offering["bindings_retrievable"] is True
    plans = {plan["id"]: plan for plan in offering["plans"]}
    assert plans[SMALL]["maintenance_info"] == {"version": "1.2.3", "description": "News."}
    assert plans[SMALL]["plan_updateable"] is plans[SMALL]["binding_rotatable"] is True
    assert plans[SLOW]["maximum_polling_duration"] == 600
    assert plans[UNBOUND]["bindable"] is False
    for plan in plans.values():
        assert not {"limits", "pool", "provider", "asynchronous", "update_to"} & set(plan)
        schema = plan["schemas"]["service_instance"]["create"]["parameters"]
        assert schema["$schema"] == "http://json-schema.org/draft-04/schema#"


def test_a_platform_that_has_it_is_told_so(kubernetes: Platform) -> None:
    """``If-None-Match`` with the ETag, and ``If-Modified-Since`` with the date, give 304."""
    first = kubernetes.http.get(CATALOG)
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    for headers in (
        {"If-None-Match": etag},
        {"If-None-Match": f'"other", W/{etag}'},
        {"If-None-Match": "*"},
        {"If-Modified-Since": modified},
    ):
        response = kubernetes.http.get(CATALOG, headers=headers)
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["etag"] == etag


@pytest.mark.parametrize(
    "headers",
    [
        {"If-None-Match": '"other"'},
        {"If-None-Match": ""},
        {"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"If-Modified-Since": "yesterday"},
        {"If-Modified-Since": "Thu, 99 Jan 99999 00:00:00 GMT"},
        # The ETag decides when both are there.
        {"If-None-Match": '"other"', "If-Modified-Since": "Fri, 31 Dec 2100 00:00:00 GMT"},
    ],
)
def test_a_platform_that_has_another_one_gets_it(
    kubernetes: Platform, headers: dict[str, str]
) -> None:
    """Any other validator, a broken one included, is answered with the catalog."""
    response = kubernetes.http.get(CATALOG, headers=headers)
    assert response.status_code == 200
    assert response.json()["services"]


def test_both_platforms_see_the_same_catalog(kubernetes: Platform, cloudfoundry: Platform) -> None:
    """What is offered does not depend on who asks."""
    assert kubernetes.http.get(CATALOG).content == cloudfoundry.http.get(CATALOG).content
