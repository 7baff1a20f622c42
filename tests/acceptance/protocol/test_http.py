"""Bad HTTP, byte by byte: what no client library would send."""

from __future__ import annotations

import base64
import json
import socket
from typing import TYPE_CHECKING

import pytest

from broker.bootstrap import http_protocol
from tests.support.application import KUBERNETES
from tests.support.catalog import SERVICE, SMALL
from tests.support.platform import new_id, path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.application import Application

pytestmark = pytest.mark.usefixtures("unchanged")

LOGIN = base64.b64encode(":".join(KUBERNETES).encode())
HEADERS = b"Host: broker\r\nX-Broker-API-Version: 2.17\r\nAuthorization: Basic " + LOGIN + b"\r\n"
MORE_THAN_EVER_READ = 64 * 1024 * 1024
MIB = 1024 * 1024
CHUNK = b"4000\r\n" + b" " * 0x4000 + b"\r\n"


@pytest.fixture
def connection(application: Application) -> Iterator[socket.socket]:
    """Return a connection to the broker."""
    with socket.create_connection(("127.0.0.1", application.port), timeout=20) as connection:
        yield connection


def _put(length: bytes) -> bytes:
    """Return the head of a provision whose body is as long as a header says."""
    return b"PUT " + path(new_id()).encode() + b" HTTP/1.1\r\n" + HEADERS + length + b"\r\n\r\n"


def _answers(connection: socket.socket) -> bytes:
    """Read until the broker closes the connection."""
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def _refused(answer: bytes, status: int) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/json" in head.lower()
    assert json.loads(body)["description"]


def _flood(connection: socket.socket, chunk: bytes) -> int:
    """Send a chunk again and again until the broker has had enough; return the bytes sent."""
    sent = 0
    try:
        while sent < MORE_THAN_EVER_READ:
            sent += connection.send(chunk)
    except OSError:
        pass  # it closed the connection
    return sent


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /v2/catalog HTTP/1.1\r\nX-Endless: ",
        b"GET /v2/catalog HTTP/1.1\r\nX-Endless",
        b"GET /v2/",
        b"GET /v2/catalog HTTP/1.1\r\n" + HEADERS + b"X: y\r\n",
        b"PUT /v2/service_instances/i HTTP/1.1\r\n"
        + HEADERS
        + b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: ",
        b"PUT /v2/service_instances/i HTTP/1.1\r\n"
        + HEADERS
        + b"Transfer-Encoding: chunked\r\n\r\n1;extension=",
    ],
)
def test_an_endless_line_is_cut_off(connection: socket.socket, request_head: bytes) -> None:
    """A URL, header, trailer or chunk extension that never ends is given up on soon."""
    connection.sendall(request_head)
    # What the sockets of both sides buffer comes on top of what is read.
    assert _flood(connection, b"a" * 16384) < MORE_THAN_EVER_READ // 4


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /v2/catalog HTTP/1.1\r\n" + HEADERS,
        b"PUT /v2/service_instances/i HTTP/1.1\r\n"
        + HEADERS
        + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
    ],
)
def test_endless_headers_are_cut_off(connection: socket.socket, request_head: bytes) -> None:
    """Short headers or trailers without end are given up on soon."""
    connection.sendall(request_head)
    assert _flood(connection, b"X-Another: header\r\n" * 800) < MORE_THAN_EVER_READ // 4


def test_a_chunked_body_without_end_is_cut_off(connection: socket.socket) -> None:
    """A body that never ends is refused once it is over the limit."""
    connection.sendall(_put(b"Transfer-Encoding: chunked"))
    connection.sendall(CHUNK * (MIB // 0x4000 + 1))
    _refused(_answers(connection), 413)


@pytest.mark.parametrize(
    ("length", "body"),
    [
        (b"Transfer-Encoding: chunked", CHUNK * (4 * MIB // 0x4000) + b"0\r\n\r\n"),
        (b"Content-Length: %d" % (4 * MIB), b" " * (4 * MIB)),
    ],
)
def test_who_sends_it_all_before_reading_gets_the_answer(
    connection: socket.socket, length: bytes, body: bytes
) -> None:
    """A body that is refused unread is still taken in, so that no reset overtakes the answer."""
    connection.sendall(_put(length) + body)
    _refused(_answers(connection), 413)


def test_a_refused_body_without_end_is_cut_off(connection: socket.socket) -> None:
    """What is taken in of a refused body has an end, too."""
    connection.sendall(_put(b"Transfer-Encoding: chunked"))
    assert _flood(connection, CHUNK) < MORE_THAN_EVER_READ // 2


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\r\n\r\nnonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /v2/catalog HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"FROB /v2/catalog HTTP/1.1\r\n" + HEADERS + b"\r\n",
        b"GET /v2/\xff\xfe HTTP/1.1\r\n" + HEADERS + b"\r\n",
        b"GET /v2/\x00 HTTP/1.1\r\n" + HEADERS + b"\r\n",
        b"GET /v2/catalog HTTP/1.1\r\nX: \x00\r\n\r\n",
        b"GET /v2/catalog HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /v2/catalog HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"GET /v2/catalog HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /v2/catalog HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"PUT /v2/service_instances/i HTTP/1.1\r\n"
        + HEADERS
        + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PUT /v2/service_instances/i HTTP/1.1\r\n"
        + HEADERS
        + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http_is_a_bad_request(connection: socket.socket, request_bytes: bytes) -> None:
    """Bytes that are no request, or one that two readers see differently, are 400 in JSON."""
    connection.sendall(request_bytes)
    connection.shutdown(socket.SHUT_WR)
    _refused(_answers(connection), 400)


@pytest.mark.parametrize(
    "credentials",
    [
        b"Authorization: Basic \xff\xfe\xfd\r\n",
        "Authorization: Basic käse\r\n".encode(),
        b"Authorization: \xff\r\n",
        b"Authorization:\r\n",
        b"Authorization: Basic " + LOGIN + b"\r\nAuthorization: Basic " + LOGIN + b"\r\n",
    ],
)
def test_authentication_of_any_bytes(connection: socket.socket, credentials: bytes) -> None:
    """Credentials that are neither ASCII nor UTF-8 nor one are wrong, and nothing worse."""
    connection.sendall(
        b"GET /v2/catalog HTTP/1.1\r\nHost: broker\r\nX-Broker-API-Version: 2.17\r\n"
        b"Connection: close\r\n" + credentials + b"\r\n"
    )
    _refused(_answers(connection), 401)


@pytest.mark.parametrize("target", ["%", "a%zz", "a%2", "%u0041", "?service_id=%zz", "?%"])
def test_broken_escapes(connection: socket.socket, target: str) -> None:
    """A percent sign that begins no escape is a bad request in path and query."""
    connection.sendall(
        f"GET /v2/service_instances/{target} HTTP/1.1\r\nConnection: close\r\n".encode()
        + HEADERS
        + b"\r\n"
    )
    _refused(_answers(connection), 400)


def test_an_old_client_is_served(connection: socket.socket) -> None:
    """HTTP/1.0 is answered, and the connection closed."""
    connection.sendall(b"GET /v2/catalog HTTP/1.0\r\n" + HEADERS + b"\r\n")
    assert b" 200 OK\r\n" in _answers(connection)


def test_requests_in_a_row_are_answered_in_order(connection: socket.socket) -> None:
    """Requests sent at once on one connection (pipelining) are each answered, in their order."""
    body = json.dumps({"service_id": SERVICE, "plan_id": "no-such-plan"}).encode()
    put = (
        b"PUT " + path(new_id()).encode() + b" HTTP/1.1\r\n" + HEADERS
        + b"Content-Length: %d\r\n\r\n" % len(body) + body
    )  # fmt: skip
    get = b"GET /v2/nothing HTTP/1.1\r\n" + HEADERS + b"\r\n"
    last = b"GET /healthz HTTP/1.1\r\nHost: broker\r\nConnection: close\r\n\r\n"
    connection.sendall(put + get + last)
    answers = _answers(connection)
    statuses = [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [400, 404, 200]


def test_garbage_does_not_answer_for_an_earlier_request(connection: socket.socket) -> None:
    """What comes after a request and is none ends the connection, but not with that answer."""
    body = json.dumps({"service_id": SERVICE, "plan_id": "no-such-plan"}).encode()
    connection.sendall(
        b"PUT " + path(new_id()).encode() + b" HTTP/1.1\r\n" + HEADERS
        + b"Content-Length: %d\r\n\r\n" % len(body) + body + b"garbage\r\n\r\n"
    )  # fmt: skip
    assert _answers(connection) == b""


def test_a_body_cut_short_is_not_acted_upon(
    application: Application, connection: socket.socket
) -> None:
    """A client that hangs up within its body has asked for nothing."""
    body = json.dumps({"service_id": SERVICE, "plan_id": SMALL}).encode()
    location = path(new_id()).encode()
    connection.sendall(
        b"PUT " + location + b" HTTP/1.1\r\n" + HEADERS
        + b"Content-Length: %d\r\n\r\n" % (len(body) + 1) + body
    )  # fmt: skip
    connection.shutdown(socket.SHUT_WR)
    connection.close()
    with socket.create_connection(("127.0.0.1", application.port), timeout=20) as later:
        later.sendall(
            b"GET " + location + b" HTTP/1.1\r\nConnection: close\r\n" + HEADERS + b"\r\n"
        )
        _refused(_answers(later), 404)


def test_a_connection_that_says_nothing_is_closed(
    application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who connects and sends no request, or half of one, does not keep the connection."""
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", 0.2)
    for beginning in (b"", b"GET /v2/cat", b"GET /healthz HTTP/1.1\r\nHost: broker\r\nX: "):
        with socket.create_connection(("127.0.0.1", application.port), timeout=20) as silent:
            silent.sendall(beginning)
            _refused(_answers(silent), 408)
