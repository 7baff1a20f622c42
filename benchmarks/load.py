"""A load of HTTP requests: keep-alive connections that each send the next when they have the last.

Belongs here: a client with so little to it that the broker is what gets measured.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, cast

from benchmarks.series import Series

if TYPE_CHECKING:
    from asyncio.transports import BaseTransport
    from collections.abc import Mapping

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"\r\ncontent-length:"
_WARM_UP = 0.5


class UnexpectedAnswer(Exception):
    """The broker answered something else than what is being measured."""


class _Connection(asyncio.Protocol):
    """Sends one request over and over until a moment has come.

    Args:
        request: The bytes to send.
        status: What every answer must have.
        start: When to begin counting, by ``time.perf_counter``.
        end: When to send no more.
    """

    def __init__(self, request: bytes, status: int, *, start: float, end: float) -> None:
        self.seconds: list[float] = []
        self.done = asyncio.get_running_loop().create_future()
        self._request = request
        self._status = f"HTTP/1.1 {status} ".encode()
        self._start, self._end = start, end
        self._received = bytearray()
        self._sent_at = 0.0
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(_HEAD_END)
        if head < 0:
            return
        if not self._received.startswith(self._status):
            answer = bytes(self._received[:head]).decode("latin-1")
            self._fail(UnexpectedAnswer(f"Expected {self._status.decode()}, got: {answer}"))
            return
        if len(self._received) < head + len(_HEAD_END) + self._body_length(head):
            return
        now = time.perf_counter()
        if self._sent_at >= self._start:
            self.seconds.append(now - self._sent_at)
        self._received.clear()
        if now < self._end:
            self._send()
        elif not self.done.done():
            self.done.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or UnexpectedAnswer("The broker closed the connection."))

    def close(self) -> None:
        self._transport.close()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(self._request)

    def _body_length(self, head: int) -> int:
        at = self._received.find(_LENGTH, 0, head)
        if at < 0:
            return 0  # 304 has none
        return int(self._received[at + len(_LENGTH) : self._received.find(b"\r\n", at + 2)])

    def _fail(self, reason: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(reason)


async def load(
    host: str, port: int, request: bytes, *, status: int, connections: int, seconds: float
) -> Series:
    """Put a load on a server.

    Args:
        host: Address.
        port: TCP port.
        request: A whole HTTP/1.1 request.
        status: What every answer must have.
        connections: How many requests are under way at once.
        seconds: How long to count, after a short time of warming up.

    Raises:
        UnexpectedAnswer: An answer had another status, or a connection was closed.
    """
    loop = asyncio.get_running_loop()
    start = time.perf_counter() + _WARM_UP
    end = start + seconds
    opened = [
        (
            await loop.create_connection(
                lambda: _Connection(request, status, start=start, end=end), host, port
            )
        )[1]
        for _ in range(connections)
    ]
    try:
        async with asyncio.timeout(_WARM_UP + seconds + 30):
            await asyncio.gather(*(connection.done for connection in opened))
    finally:
        for connection in opened:
            connection.close()
    measured = [second for connection in opened for second in connection.seconds]
    return Series(measured, elapsed=seconds)


def get(path: str, headers: Mapping[str, str]) -> bytes:
    """Return a GET request as it goes over the wire."""
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")
