"""What every request passes before a route sees it."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from broker.api.authentication import Authenticator
from broker.api.gate import PUBLIC, Gate
from broker.api.limits import MAX_HEAD_BYTES, MAX_ID_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import Message, Receive, Scope, Send

MAX_BODY = 100
AUTHORIZATION = (b"authorization", b"Basic " + base64.b64encode(b"kate:correct-password"))
VERSION = (b"x-broker-api-version", b"2.17")
GOOD = (AUTHORIZATION, VERSION)
INSTANCE = "/v2/service_instances"


@dataclass
class Answer:
    """What came of a request.

    Attributes:
        reached: Whether the application behind the gate saw it.
        body_read: The body it saw.
        status: The status of the response.
        headers: Its headers.
        body: Its body, decoded.
        observed: Method and status, as they were counted.
    """

    reached: bool = False
    body_read: bytes = b""
    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    body: Any = None
    observed: list[tuple[str, int]] = field(default_factory=list)


async def _ask(
    *headers: tuple[bytes, bytes],
    path: str = "/v2/catalog",
    raw_path: bytes | None = None,
    body: Iterable[bytes | None] = (b"",),
    query: bytes = b"",
) -> Answer:
    """Send a request through a gate; a ``None`` is a client that hangs up: last, after the body."""
    answer = Answer()
    chunks = list(body)
    answered = b""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        answer.reached = True
        answer.body_read = (await receive())["body"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def receive() -> Message:
        if not chunks:
            await asyncio.Future()  # as long as the client is there, there is nothing more
        chunk = chunks.pop(0)
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": chunks not in ([], [None])}

    async def send(message: Message) -> None:
        nonlocal answered
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = dict(message["headers"])
            return
        answered += message.get("body", b"")
        if not message.get("more_body", False):
            answer.body = json.loads(answered)

    gate = Gate(
        application,
        authenticator=Authenticator([("kubernetes", "kate", "correct-password")]),
        max_body_bytes=MAX_BODY,
        observe=lambda method, status, _seconds: answer.observed.append((method, status)),
    )
    scope = {
        "type": "http",
        "method": "PUT",
        "path": path,
        "raw_path": path.encode() if raw_path is None else raw_path,
        "query_string": query,
        "headers": list(headers),
    }
    await gate(scope, receive, send)
    return answer


async def test_nothing_is_made_for_a_client_that_has_gone() -> None:
    """A request whose client has closed the connection by the time it is read is dropped."""
    answer = await _ask(*GOOD, body=[b"{}", None])
    assert (answer.reached, answer.status) == (False, 0)


async def test_a_good_request_passes() -> None:
    """With credentials and a version, the application sees the whole body."""
    answer = await _ask(*GOOD, body=[b"a" * 60, b"b" * 40])
    assert (answer.status, answer.body_read) == (200, b"a" * 60 + b"b" * 40)
    assert answer.observed == [("PUT", 200)]


@pytest.mark.parametrize("path", sorted(PUBLIC))
async def test_probes_need_no_credentials(path: str) -> None:
    """A kubelet has neither credentials nor a version."""
    assert (await _ask(path=path)).reached


@pytest.mark.parametrize("path", ["/", "/v2", "/v2/catalog", "/healthz/", "/readyz/x", "/docs"])
async def test_everything_else_needs_credentials(path: str) -> None:
    """Without credentials nobody learns so much as which paths exist."""
    answer = await _ask(VERSION, path=path)
    assert (answer.status, answer.reached) == (401, False)
    assert b"www-authenticate" in answer.headers
    assert answer.body["description"]


async def test_two_authorizations_are_none() -> None:
    """Of two headers, a proxy might have checked the other one."""
    assert (await _ask(AUTHORIZATION, *GOOD)).status == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ((AUTHORIZATION,), 400),
        ((AUTHORIZATION, VERSION, VERSION), 400),
        ((AUTHORIZATION, (b"x-broker-api-version", b"two")), 400),
        ((AUTHORIZATION, (b"x-broker-api-version", b"1.14")), 412),
        ((VERSION,), 401),
        (((b"x-broker-api-version", b"1.14"),), 401),
    ],
)
async def test_credentials_come_before_the_version(
    headers: tuple[tuple[bytes, bytes], ...], status: int
) -> None:
    """A missing or wrong version is told to those who may know."""
    answer = await _ask(*headers)
    assert (answer.status, answer.reached) == (status, False)


async def test_a_request_identity_comes_back() -> None:
    """The platform's identity is echoed, on refusals as well; without one, it gets ours."""
    given = (b"x-broker-api-request-identity", b"request-7")
    for answer in (await _ask(*GOOD, given), await _ask(given)):
        assert answer.headers[given[0]] == b"request-7"
    for answer in (await _ask(*GOOD), await _ask(*GOOD, (given[0], b"forged\nline"))):
        assert len(answer.headers[given[0]]) == 36


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ([(b"content-length", b"101")], [b"a" * 101]),
        ([(b"content-length", b"9" * 30)], [b""]),
        ([(b"content-length", b"9" * 5000)], [b""]),
        ([], [b"a" * 101]),
        ([(b"content-length", b"5")], [b"a" * 60, b"a" * 60]),
        ([], [b"a"] * 102),
    ],
)
async def test_a_large_body_is_not_read(
    headers: list[tuple[bytes, bytes]], body: list[bytes]
) -> None:
    """Declared or chunked, more than the limit is refused, and the connection is given up."""
    answer = await _ask(*GOOD, *headers, body=body)
    assert (answer.status, answer.reached) == (413, False)
    assert answer.body == {"description": "The request's body is too large."}
    assert answer.headers[b"connection"] == b"close"


async def test_an_interrupted_body_is_not_acted_upon() -> None:
    """A client that hangs up in the middle has asked for nothing."""
    answer = await _ask(*GOOD, body=[b'{"a": ', None, None])
    assert not answer.reached
    assert answer.status == 0


async def test_large_headers_are_refused() -> None:
    """Headers and URL together have a limit of their own."""
    limit = MAX_HEAD_BYTES
    for answer in (
        await _ask(*GOOD, (b"x", b"y" * limit)),
        await _ask(*GOOD, *[(b"x", b"y" * 10)] * (limit // 11)),
        await _ask(*GOOD, query=b"q" * limit),
        await _ask(*GOOD, path="/" + "p" * limit),
    ):
        assert (answer.status, answer.reached) == (431, False)


@pytest.mark.parametrize(
    ("path", "raw_path"),
    [
        (f"{INSTANCE}/a/b", f"{INSTANCE}/a%2Fb"),
        (f"{INSTANCE}/a/b", f"{INSTANCE}/a%2fb"),
        (f"{INSTANCE}/\x00", f"{INSTANCE}/%00"),
        (f"{INSTANCE}/a\nb", f"{INSTANCE}/a%0Ab"),
        (f"{INSTANCE}/a\x7f", f"{INSTANCE}/a%7F"),
        (f"{INSTANCE}/a\x85", f"{INSTANCE}/a%C2%85"),
        (f"{INSTANCE}/\ufffd", f"{INSTANCE}/%FF"),
        (f"{INSTANCE}/%zz", f"{INSTANCE}/%zz"),
        (f"{INSTANCE}/a%", f"{INSTANCE}/a%"),
        (f"{INSTANCE}/a%4", f"{INSTANCE}/a%4"),
        (f"{INSTANCE}/{'a' * (MAX_ID_LENGTH + 1)}", f"{INSTANCE}/{'a' * (MAX_ID_LENGTH + 1)}"),
        (
            f"{INSTANCE}/a/service_bindings/{'b' * (MAX_ID_LENGTH + 1)}",
            f"{INSTANCE}/a/service_bindings/{'b' * (MAX_ID_LENGTH + 1)}",
        ),
    ],
)
async def test_what_cannot_be_an_id_is_refused(path: str, raw_path: str) -> None:
    """Slashes, control characters, broken encodings and overlong ids are bad requests."""
    answer = await _ask(*GOOD, path=path, raw_path=raw_path.encode())
    assert (answer.status, answer.reached) == (400, False)
    assert answer.body["description"]


@pytest.mark.parametrize(
    "instance_id", ["a", "not-a-guid", "a b", "%", "ü", "..", "a" * MAX_ID_LENGTH, "ü" * 255]
)
async def test_ids_need_not_be_guids(instance_id: str) -> None:
    """The specification restricts ids in nothing."""
    encoded = "".join(f"%{byte:02X}" for byte in instance_id.encode())
    answer = await _ask(
        *GOOD, path=f"{INSTANCE}/{instance_id}", raw_path=f"{INSTANCE}/{encoded}".encode()
    )
    assert answer.reached


@pytest.mark.parametrize("query", [b"plan_id=a&plan_id=b", b"a&x=1&a", b"plan_id=a&plan%5Fid=b"])
async def test_a_query_that_names_something_twice_is_refused(query: bytes) -> None:
    """Which of the two counts may be one here and the other in a proxy."""
    assert (await _ask(*GOOD, query=query)).status == 400
    assert (await _ask(*GOOD, query=query.split(b"&")[0] + b"&b=a")).status == 200


@pytest.mark.parametrize("query", [b"service_id=%zz", b"a=%", b"a=%f"])
async def test_broken_escapes_in_the_query_are_refused(query: bytes) -> None:
    """A percent sign that begins no escape may mean one thing here and another in a proxy."""
    assert (await _ask(*GOOD, query=query)).status == 400
