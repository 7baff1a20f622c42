"""What every request passes before a route sees it, and every response on its way out.

In this order: a request identity, authentication, the API version, the size of the body, and ids
that can be ids. One piece of plain ASGI, because it stands in front of everything.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import structlog

from broker.api import headers as wire
from broker.api.errors import error_response, plain_error
from broker.domain.errors import BrokerError, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import MutableMapping
    from typing import Any

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from broker.api.authentication import Authenticator

log = structlog.get_logger()

PUBLIC = frozenset({"/healthz", "/readyz"})
"""Paths that need no credentials: a kubelet has none."""

MAX_HEADER_BYTES = 32 * 1024
MAX_ID_LENGTH = 255

_BAD_ID = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffd]")
_ENCODED_SLASH = re.compile(rb"%2f", re.IGNORECASE)


class BodyTooLarge(Exception):
    """The body is larger than this broker reads."""


class Gate:
    """Wraps the application; see the module."""

    def __init__(self, app: ASGIApp, *, authenticator: Authenticator, max_body_bytes: int) -> None:
        """Stand in front of an application.

        Args:
            app: The routes.
            authenticator: Knows the platforms.
            max_body_bytes: The largest body that is read.
        """
        self._app = app
        self._authenticator = authenticator
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one HTTP request; everything else (lifespan) goes straight through."""
        if scope["type"] != "http" or scope["path"] in PUBLIC:
            await self._app(scope, receive, send)
            return
        await _Exchange(scope, send).handle(self, receive)

    def admit(self, scope: Scope) -> None:
        """Let a request in, or refuse it.

        Sets ``scope["state"]["platform"]``.

        Raises:
            BrokerError: Wrong credentials, a wrong version, or an id that cannot be one.
        """
        found = scope["headers"]
        platform = self._authenticator.authenticate(wire.single(found, wire.AUTHORIZATION))
        scope["state"]["platform"] = platform
        wire.check_api_version(wire.single(found, wire.API_VERSION))
        _check_path(scope)

    async def forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, within bounds, and hand the request on.

        Raises:
            BodyTooLarge: Nothing has been handed on then.
        """
        body = await self._read(scope, receive)

        async def replay() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        declared = wire.single(scope["headers"], wire.CONTENT_LENGTH)
        if declared is not None and declared.isdigit() and int(declared) > self._max_body_bytes:
            raise BodyTooLarge
        chunks: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await receive()
            chunk = message.get("body", b"")
            size += len(chunk)
            if size > self._max_body_bytes:
                raise BodyTooLarge
            chunks.append(chunk)
            more = message.get("more_body", False)
        return b"".join(chunks)


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, send: Send) -> None:
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        given = wire.request_identity(wire.single(scope["headers"], wire.REQUEST_IDENTITY))
        self.request_id = given or str(uuid4())
        state["request_id"] = self.request_id
        self.scope = scope
        self.status = 0
        self._send = send
        self._started_at = time.perf_counter()

    async def handle(self, gate: Gate, receive: Receive) -> None:
        try:
            if sum(len(k) + len(v) for k, v in self.scope["headers"]) > MAX_HEADER_BYTES:
                await self._refuse(plain_error(431, "The request's headers are too large."))
                return
            gate.admit(self.scope)
            await gate.forward(self.scope, receive, self.send)
        except BrokerError as refusal:
            await self._refuse(error_response(refusal))
        except BodyTooLarge:
            await self._refuse(plain_error(413, "The request's body is too large."))
        except Exception:
            log.exception("request failed unexpectedly", request=self.request_id)
            if not self.status:
                await self._refuse(
                    plain_error(
                        500,
                        "The broker failed unexpectedly; its operator finds the reason in the log "
                        f"under the request {self.request_id}.",
                    )
                )
        finally:
            self._log()

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", ()),
                (wire.REQUEST_IDENTITY, self.request_id.encode("ascii")),
            ]
        await self._send(message)

    async def _refuse(self, response: ASGIApp) -> None:
        async def nothing() -> Message:
            return {"type": "http.disconnect"}

        await response(self.scope, nothing, self.send)

    def _log(self) -> None:
        method = self.scope["method"]
        # A platform asks for the catalog and polls all day; changes are what one looks for.
        write = log.debug if method == "GET" and self.status < 400 else log.info  # noqa: PLR2004
        write(
            "request",
            method=method,
            path=self.scope["path"],
            status=self.status,
            milliseconds=round((time.perf_counter() - self._started_at) * 1000, 1),
            platform=self.scope["state"].get("platform"),
            request=self.request_id,
        )


def _check_path(scope: Scope) -> None:
    if _ENCODED_SLASH.search(scope.get("raw_path") or b""):
        raise InvalidRequest("An id in the path must not contain a slash.")
    path = scope["path"]
    if _BAD_ID.search(path):
        raise InvalidRequest("An id in the path must be UTF-8 without control characters.")
    if any(len(part) > MAX_ID_LENGTH for part in path.split("/")):
        raise InvalidRequest(f"An id in the path must have at most {MAX_ID_LENGTH} characters.")
