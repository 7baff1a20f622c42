"""Bad input: refused as the specification says, in JSON, repeating no secret, changing nothing."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.catalog import BIG, SERVICE, SMALL
from tests.support.platform import new_id, path

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.support.platform import Platform

pytestmark = pytest.mark.usefixtures("unchanged")

CANARY = "canary-7f3a"
GOOD: dict[str, Any] = {"service_id": SERVICE, "plan_id": SMALL}
MIB = 1024 * 1024


def _refused(response: httpx.Response, status: int = 400) -> None:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert body["description"].strip()
    assert set(body) <= {"error", "description"}
    assert CANARY not in response.text


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Basic",
        b"Basic " + CANARY.encode(),
        b"Basic \xff\xfe\xfd",
        "Basic käse".encode(),
        b"Basic " + base64.b64encode(b"\xff\xfe:\xfd"),
        b"Basic " + base64.b64encode(CANARY.encode()),
        b"Basic " + base64.b64encode(f"kate:{CANARY}".encode()),
        b"Basic " + base64.b64encode(f"{CANARY}:kubernetes-password-1".encode()),
        b"Bearer " + CANARY.encode(),
        b"Digest username=kate",
        b"Basic " + b"QUFB" * 5000,
    ],
)
@pytest.mark.parametrize("location", ["/v2/catalog", path("i"), path("i", "b"), "/nothing"])
def test_broken_authentication(kubernetes: Platform, header: bytes | None, location: str) -> None:
    """Whatever stands in for the credentials, the answer is 401 and how to do it right."""
    request = kubernetes.http.build_request("PUT", location, content=b"{}")
    if header is not None:
        request.headers = type(request.headers)([*request.headers.raw, (b"Authorization", header)])
    response = kubernetes.http.send(request, auth=None)
    _refused(response, 401)
    assert response.headers["www-authenticate"].startswith("Basic ")


BODIES: list[bytes] = [
    b"",
    b" ",
    b"{",
    json.dumps(GOOD).encode()[:-1],
    json.dumps(GOOD).encode() + b"}",
    b"[]",
    b"null",
    b'"canary-7f3a"',
    b"7",
    json.dumps([GOOD]).encode(),
    b"\xff\xfe{}",
    json.dumps(GOOD).encode("utf-16"),
    b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
    b'{"service_id": "\xe4"}',
    b"service_id=canary-7f3a&plan_id=canary-7f3a",
    b"<xml>canary-7f3a</xml>",
    b'{"a":' * 50_000,
    b'{"context": ' + b"[" * 500 + b"]" * 500 + b"}",
    b'{"service_id": "a", "service_id": "b"}',
    b'{"parameters": {"canary-7f3a": 1, "canary-7f3a": 2}}',
]

CONTEXTS: list[bytes] = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"1" * 5000,
    b"-" + b"9" * 101,
    b'"\\u0000"',
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'["\\ud83d"]',
    b'{"\\u0000": 1}',
    b'"\x00"',
    b"[" * 64 + b"]" * 64,
]


@pytest.mark.parametrize("body", [*BODIES, *CONTEXTS], ids=range(len(BODIES) + len(CONTEXTS)))
def test_bodies_that_are_no_json_objects(
    kubernetes: Platform, existing: tuple[str, str], body: bytes
) -> None:
    """Empty, truncated, foreign, ambiguous and hostile bodies are bad requests on every route."""
    if body in CONTEXTS:
        body = (
            json.dumps({**GOOD, "context": {"a": CANARY}})
            .encode()
            .replace(f'"{CANARY}"'.encode(), body)
        )
    for method, location in (
        ("PUT", path(new_id())),
        ("PATCH", path(existing[0])),
        ("PUT", path(existing[0], new_id())),
    ):
        _refused(kubernetes.http.request(method, location, content=body))


@pytest.mark.parametrize(
    "raw",
    [
        "a%2Fb",
        "a%2fb",
        "%2F",
        "%00",
        "a%00b",
        "a%0Ab",
        "a%0D%0Ab",
        "%7F",
        "%C2%85",
        "%FF",
        "%C0%AF",
        "%ED%A0%80",
        "x" * 256,
        "%C3%BC" * 256,
        "%F0%9F%90%98" * 255,
    ],
)
def test_ids_that_cannot_be_ids(kubernetes: Platform, raw: str) -> None:
    """Slashes, control characters, foreign encodings and overlong ids are bad requests."""
    query = f"?service_id={SERVICE}&plan_id={SMALL}"
    body = json.dumps(GOOD).encode()
    instance, binding = f"/v2/service_instances/{raw}", f"{path('i')}/service_bindings/{raw}"
    _refused(kubernetes.http.put(instance, content=body))
    if len(raw) < 2000:
        for location in (instance, binding):
            for method in ("GET", "PUT", "DELETE"):
                _refused(kubernetes.http.request(method, location + query, content=body))
            _refused(kubernetes.http.get(f"{location}/last_operation"))


@pytest.mark.parametrize(
    ("method", "location", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2", 404),
        ("GET", "/v2/", 404),
        ("GET", "/v1/catalog", 404),
        ("GET", "/V2/catalog", 404),
        ("GET", "/v2/catalog/", 404),
        ("GET", "//v2/catalog", 404),
        ("GET", "/v2/service_instances", 404),
        ("GET", "/v2/service_instances/", 404),
        ("PUT", "/v2/service_instances//service_bindings/b", 404),
        ("PUT", "/v2/service_instances/i/service_bindings", 404),
        ("PUT", "/v2/service_instances/i/service_bindings/", 404),
        ("PUT", "/v2/service_instances/i/service_bindings/b/c", 404),
        ("GET", "/v2/service_instances/i/", 404),
        ("GET", "/docs", 404),
        ("GET", "/openapi.json", 404),
        ("GET", f"/{CANARY}", 404),
        ("POST", "/v2/catalog", 405),
        ("DELETE", "/v2/catalog", 405),
        ("POST", "/v2/service_instances/i", 405),
        ("PATCH", "/v2/service_instances/i/service_bindings/b", 405),
        ("PUT", "/v2/service_instances/i/last_operation", 405),
        ("OPTIONS", "/v2/service_instances/i", 405),
        ("TRACE", "/v2/catalog", 405),
        ("PROPFIND", "/v2/catalog", 405),
        ("POST", "/healthz", 405),
    ],
)
def test_wrong_methods_and_paths(
    kubernetes: Platform, method: str, location: str, status: int
) -> None:
    """What is not of the protocol is 404 or 405 with the allowed methods, and never a redirect."""
    response = kubernetes.http.request(method, location, content=b"{}")
    _refused(response, status)
    if status == 405:
        assert response.headers["allow"]


@pytest.mark.parametrize("value", ["", "perhaps", "2", "null", "%FF", "true%00", "tr%75e "])
def test_a_wrong_accepts_incomplete(kubernetes: Platform, value: str) -> None:
    """What is neither true nor false is a bad request."""
    query = f"accepts_incomplete={value}"
    _refused(kubernetes.http.put(f"{path(new_id())}?{query}", json=GOOD))
    ids = f"service_id={SERVICE}&plan_id={SMALL}"
    _refused(kubernetes.http.delete(f"{path(new_id())}?{ids}&{query}"))


def test_bodies_over_the_limit(kubernetes: Platform) -> None:
    """A body over the limit is 413, declared or chunked."""
    body = json.dumps({**GOOD, "context": {"a": "x" * MIB}}).encode()

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    _refused(kubernetes.http.put(path(new_id()), content=body), 413)
    _refused(kubernetes.http.put(path(new_id()), content=chunks()), 413)


def test_documents_that_grow_when_stored(kubernetes: Platform) -> None:
    """A body below the limit whose context is larger than the store takes is a bad request."""
    body = json.dumps({**GOOD, "context": {"a": "🐘" * 250_000}}, ensure_ascii=False).encode()
    assert len(body) < MIB
    _refused(kubernetes.http.put(path(new_id()), content=body))


def test_headers_over_the_limit(kubernetes: Platform) -> None:
    """One large header, many small ones, and a long URL are 431."""
    large = {"X-Large": "x" * 40_000}
    many = {f"X-{number}": "x" * 50 for number in range(800)}
    _refused(kubernetes.http.get("/v2/catalog", headers=large), 431)
    _refused(kubernetes.http.get("/v2/catalog", headers=many), 431)
    _refused(kubernetes.http.get(f"{path('i')}?unknown={'x' * 40_000}"), 431)


def test_an_update_to_nothing_in_particular(
    kubernetes: Platform, existing: tuple[str, str]
) -> None:
    """An update with ``null`` for what it could leave out changes nothing and is no error."""
    left_out = ("plan_id", "context", "parameters", "previous_values", "maintenance_info")
    response = kubernetes.http.patch(
        path(existing[0]), json={"service_id": SERVICE, **dict.fromkeys(left_out)}
    )
    assert (response.status_code, response.json()) == (200, {})
    assert BIG not in kubernetes.fetch(existing[0]).text


@pytest.mark.parametrize(
    "content_type",
    [None, "application/json; charset=utf-8", "text/plain", "application/x-www-form-urlencoded"],
)
def test_the_content_type_does_not_matter(
    kubernetes: Platform, existing: tuple[str, str], content_type: str | None
) -> None:
    """JSON is read as JSON whatever it is called: curl says it is a form."""
    headers = {} if content_type is None else {"Content-Type": content_type}
    body = json.dumps(GOOD).encode()
    response = kubernetes.http.put(path(existing[0]), content=body, headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("location", "methods"),
    [
        ("/v2/catalog", {"GET"}),
        (path("i"), {"GET", "PUT", "PATCH", "DELETE"}),
        (path("i", "b"), {"GET", "PUT", "DELETE"}),
        (f"{path('i')}/last_operation", {"GET"}),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(
    kubernetes: Platform, location: str, methods: set[str]
) -> None:
    """The header ``Allow`` has every method of the path (RFC 9110, section 15.5.6)."""
    response = kubernetes.http.post(location)
    assert set(response.headers["allow"].split(", ")) == methods
