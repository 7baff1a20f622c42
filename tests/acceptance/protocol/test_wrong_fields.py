"""Fields of the wrong type, length or meaning: bad requests that change nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.catalog import SERVICE, SMALL
from tests.support.platform import new_id, path

if TYPE_CHECKING:
    import httpx

    from tests.support.platform import Platform

pytestmark = pytest.mark.usefixtures("unchanged")

CANARY = "canary-7f3a"
GOOD: dict[str, Any] = {"service_id": SERVICE, "plan_id": SMALL}


def _refused(response: httpx.Response) -> None:
    assert response.status_code == 400
    body = response.json()
    assert set(body) == {"description"}
    # Enough to find the mistake; what was sent is cut, however long it was.
    assert 0 < len(body["description"]) < 1000


WRONG_FIELDS: list[dict[str, Any]] = [
    {"service_id": None},
    {"service_id": 7},
    {"service_id": ""},
    {"service_id": [SERVICE]},
    {"service_id": "x" * 256},
    {"service_id": f"{SERVICE}\n"},
    {"service_id": CANARY + "ü"},
    {"plan_id": 7},
    {"plan_id": ""},
    {"plan_id": {"id": SMALL}},
    {"plan_id": "x" * 100_000},
    {"context": []},
    {"context": "text"},
    {"context": 7},
    {"parameters": []},
    {"parameters": "text"},
    {"parameters": {CANARY: CANARY}},
    {"maintenance_info": "1.2.3"},
    {"maintenance_info": {}},
    {"maintenance_info": {"version": 1}},
    {"maintenance_info": {"version": "x" * 1000}},
]
PROVISION_FIELDS: list[dict[str, Any]] = [
    {"plan_id": None},
    {"organization_guid": 7},
    {"space_guid": {}},
    {"space_guid": "x" * 1000},
    {"parameters": {"extensions": "hstore"}},
    {"parameters": {"extensions": [CANARY]}},
    {"parameters": {"extensions": ["hstore", "hstore"]}},
    {"parameters": {"extensions": [["hstore"]]}},
    {"parameters": {"extensions": None}},
    {"parameters": {"extensions": ["hstore; DROP DATABASE postgres"]}},
    {"parameters": {"init-db-args": 7}},
    {"parameters": {"init-db-args": None}},
    {"parameters": {"init-db-args": ["--locale", 7]}},
    {"parameters": {"init-db-args": "--pwfile=/etc/passwd"}},
    {"parameters": {"init-db-args": "--locale='"}},
    {"parameters": {"init-db-args": "$(reboot)"}},
    {"parameters": {"init-db-args": "x" * 100_000}},
    {"parameters": {"init-db-args": ["-k"] * 1000}},
    {"parameters": {"INIT-DB-ARGS": "-k"}},
]
BIND_FIELDS: list[dict[str, Any]] = [
    {"plan_id": None},
    {"app_guid": 7},
    {"app_guid": "x" * 1000},
    {"bind_resource": []},
    {"bind_resource": "text"},
    {"predecessor_binding_id": 7},
    {"predecessor_binding_id": ""},
    {"predecessor_binding_id": "x" * 256},
    {"parameters": {"role": CANARY * 3}},
    {"parameters": {"role": None}},
    {"parameters": {"role": ["read-only"]}},
    {"parameters": {"role": {"read-only": True}}},
]


@pytest.mark.parametrize("fields", [*WRONG_FIELDS, *PROVISION_FIELDS])
def test_wrong_fields_of_a_provision(kubernetes: Platform, fields: dict[str, Any]) -> None:
    """Types, lengths and parameters that the schemas do not have are bad requests."""
    response = kubernetes.http.put(path(new_id()), json={**GOOD, **fields})
    _refused(response)


@pytest.mark.parametrize("name", ["service_id", "plan_id"])
def test_missing_fields_of_a_provision(kubernetes: Platform, name: str) -> None:
    """A provision names its service and its plan, and the refusal says which is missing."""
    body = {key: value for key, value in GOOD.items() if key != name}
    response = kubernetes.http.put(path(new_id()), json=body)
    _refused(response)
    assert name in response.json()["description"]


@pytest.mark.parametrize("fields", [*WRONG_FIELDS, {"previous_values": 7}])
def test_wrong_fields_of_an_update(
    kubernetes: Platform, existing: tuple[str, str], fields: dict[str, Any]
) -> None:
    """Types, lengths and parameters that the schemas do not have are bad requests."""
    response = kubernetes.http.patch(path(existing[0]), json={**GOOD, **fields})
    _refused(response)


@pytest.mark.parametrize(
    "fields",
    [*(fields for fields in WRONG_FIELDS if "maintenance_info" not in fields), *BIND_FIELDS],
)
def test_wrong_fields_of_a_bind(
    kubernetes: Platform, existing: tuple[str, str], fields: dict[str, Any]
) -> None:
    """Types, lengths and parameters that the schemas do not have are bad requests."""
    response = kubernetes.http.put(path(existing[0], new_id()), json={**GOOD, **fields})
    _refused(response)
