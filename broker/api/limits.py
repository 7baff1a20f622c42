"""How much of a request is read, and what its URL may look like."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from broker.api.headers import CONTENT_LENGTH, single
from broker.domain.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from starlette.types import Receive, Scope

MAX_HEAD_BYTES = 32 * 1024
"""The URL and all headers together."""

MAX_ID_LENGTH = 255

BODY_SECONDS = 30
"""How long a client may take to send a body."""

LINGER_SECONDS = 1
"""How long the rest of a refused body is taken in, so that its client sees the answer."""

LINGER_BYTES = 16 * 1024 * 1024
"""How much of it."""

_BODY_HEADERS = frozenset({CONTENT_LENGTH, b"transfer-encoding"})
_MAX_LENGTH_DIGITS = 18
_BAD_ID = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd]")
_ENCODED_SLASH = re.compile(rb"%2f", re.IGNORECASE)
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9a-f]{2})", re.IGNORECASE)


class HeadTooLarge(Exception):
    """The URL and the headers are larger than this broker reads."""


class BodyTooLarge(Exception):
    """The body is larger than this broker reads."""


class BodyTooSlow(Exception):
    """The body did not arrive within ``BODY_SECONDS``."""


class ClientGone(Exception):
    """The client hung up before its request was complete, and so has asked for nothing."""


def check_head(scope: Scope) -> None:
    """Refuse a request whose URL and headers are too large.

    Raises:
        HeadTooLarge: They are.
    """
    url = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    headers = sum(len(name) + len(value) for name, value in scope["headers"])
    if url + headers > MAX_HEAD_BYTES:
        raise HeadTooLarge


def check_url(scope: Scope) -> None:
    """Refuse a URL that two readers may understand differently, or whose ids cannot be ids.

    Raises:
        InvalidRequest: With what is wrong.
    """
    raw_path: bytes = scope.get("raw_path") or b""
    if _ENCODED_SLASH.search(raw_path):
        raise InvalidRequest("An id in the path must not contain a slash.")
    if _BROKEN_ESCAPE.search(raw_path) or _BROKEN_ESCAPE.search(scope["query_string"]):
        raise InvalidRequest("A percent sign in the URL must begin an escape like %20.")
    if b"&" in scope["query_string"]:
        query = scope["query_string"].decode("latin-1")
        names = [name for name, _ in parse_qsl(query, keep_blank_values=True)]
        if len(set(names)) < len(names):
            raise InvalidRequest("The query must not name anything twice.")
    path = scope["path"]
    if _BAD_ID.search(path):
        raise InvalidRequest("An id in the path must be UTF-8 without control characters.")
    if any(len(part) > MAX_ID_LENGTH for part in path.split("/")):
        raise InvalidRequest(f"An id in the path must have at most {MAX_ID_LENGTH} characters.")


async def read_body(scope: Scope, receive: Receive, *, limit: int) -> bytes:
    """Read a request's body.

    Args:
        scope: The request.
        receive: Where the body comes from.
        limit: The largest body, in bytes.

    Raises:
        BodyTooLarge: It is larger, or says so.
        BodyTooSlow: It did not arrive in time.
        ClientGone: It did not arrive at all, or nobody waits for what it asks to be made.
    """
    if scope["method"] == "GET" and not any(name in _BODY_HEADERS for name, _ in scope["headers"]):
        return b""  # waiting for what is not there takes longer than to answer from memory
    declared = single(scope["headers"], CONTENT_LENGTH) or b""
    if len(declared) > _MAX_LENGTH_DIGITS or (declared.isdigit() and int(declared) > limit):
        raise BodyTooLarge
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _read(receive, limit)
    except TimeoutError:
        raise BodyTooSlow from None
    # Whoever gives up asks for the deletion next, which may be quicker than what it gave up on.
    if scope["method"] == "PUT" and await _gone(receive):
        raise ClientGone
    return body


async def discard_body(receive: Receive) -> None:
    """Take in the rest of a body that nobody will read, within ``LINGER_SECONDS`` and bytes."""
    size, more = 0, True
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while more and size < LINGER_BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                more = message.get("more_body", False)


async def unless_gone(handling: Awaitable[None], receive: Receive) -> None:
    """Handle a request for as long as its client waits for the answer.

    What has been recorded by then goes on in a task of its own; what has not is not recorded any
    more, for the deletion that a client asks for next may find nothing, and must be right.

    Args:
        handling: Answers the request.
        receive: Where the end of the connection is told; the body has been read.

    Raises:
        ClientGone: The client has hung up.
    """
    handler = asyncio.ensure_future(handling)
    watch = asyncio.create_task(_until_gone(receive))
    try:
        await asyncio.wait({handler, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not handler.done():
            raise ClientGone
        handler.result()
    finally:
        watch.cancel()
        if handler.cancel():
            await asyncio.wait({handler})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _gone(receive: Receive) -> bool:
    """Tell whether the client has closed the connection by now, without waiting for it."""
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(0):
            message = await receive()
    except TimeoutError:
        return False
    return bool(message["type"] == "http.disconnect")


async def _read(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise BodyTooLarge
        chunks.append(chunk)
        more = message.get("more_body", False)
    return b"".join(chunks)
