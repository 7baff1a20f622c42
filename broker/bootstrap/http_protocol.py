"""uvicorn's HTTP protocol, with bounds it does not have: an endless head fills no memory.

Belongs here: what has to be refused before there is a request the application could see.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

MAX_HEAD_BYTES = 64 * 1024
"""More than the application reads, so that what is only too large gets its proper answer."""

HEAD_SECONDS = 15
"""How long a client may take from connecting, or from its first byte, to the end of the headers."""


class BoundedProtocol(HttpToolsProtocol):
    """Ends a connection whose head is endless, in bytes or in time, and answers in JSON.

    The parser below keeps every byte of a request line, of a header and of a trailer until it is
    complete. So the bytes are counted that come in without completing anything; what is read at
    once (64 KiB or so) may come on top.
    """

    _incomplete = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the parent
        """Give the client time for a first request."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up."""
        self._head_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come in, unless it is too much."""
        self._incomplete += len(data)
        super().data_received(data)
        if self._incomplete > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The request's headers or URL are too large.",
            )

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        super().on_message_begin()
        self._incomplete = 0
        if self._deadline is None:
            self._expect_head()

    def on_headers_complete(self) -> None:
        """Note that the head has arrived."""
        self._incomplete = 0
        self._head_arrived()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note progress: the application bounds the body itself."""
        self._incomplete = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request has ended."""
        self._incomplete = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP like every other bad request."""
        self._refuse(HTTPStatus.BAD_REQUEST, msg)

    def _expect_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _head_arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "The request's headers did not arrive.")

    def _refuse(self, status: HTTPStatus, description: str) -> None:
        if not self._answering():
            body = json.dumps({"description": description}).encode()
            head = (
                f"HTTP/1.1 {status.value} {status.phrase}\r\n"
                "content-type: application/json\r\n"
                f"content-length: {len(body)}\r\n"
                "connection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + body)
        self.transport.close()

    def _answering(self) -> bool:
        """Tell whether another request is being answered, so that nothing can be said between."""
        cycle = self.cycle
        if getattr(cycle, "response_complete", True):
            return False
        return bool(self.pipeline) or cycle.response_started or not cycle.more_body
