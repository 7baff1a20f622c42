"""What every request passes before a route sees it, and every response on its way out.

In this order: a request identity, the size of the headers, authentication, the API version, ids
that can be ids, and the size of the body. One piece of plain ASGI, because it stands in front of
everything.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote
from uuid import uuid4

import structlog

from broker.api import headers as wire
from broker.api import limits
from broker.api.errors import error_response, plain_error
from broker.domain.errors import BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from typing import Any

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from broker.api.authentication import Authenticator

log = structlog.get_logger()

PUBLIC = frozenset({"/healthz", "/readyz", "/metrics"})
"""Paths that need no credentials: a kubelet has none, and a scraper need not have any."""


class Gate:
    """Wraps the application; see the module."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticator: Authenticator,
        max_body_bytes: int,
        observe: Callable[[str, int, float], None],
    ) -> None:
        """Stand in front of an application.

        Args:
            app: The routes.
            authenticator: Knows the platforms.
            max_body_bytes: The largest body that is read.
            observe: Told of each request: method, status, and how many seconds it took.
        """
        self._app = app
        self._authenticator = authenticator
        self._max_body_bytes = max_body_bytes
        self.observe = observe

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
        limits.check_url(scope)

    async def forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the body, within bounds, and hand the request on.

        Raises:
            BodyTooLarge: Nothing has been handed on then.
            BodyTooSlow: Likewise.
            ClientGone: Likewise.
        """
        body = await limits.read_body(scope, receive, limit=self._max_body_bytes)

        async def replay() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        if scope["method"] == "GET":
            await self._app(scope, replay, send)
        else:
            await limits.unless_gone(self._app(scope, replay, send), receive)


class _Exchange:
    """One request and its response."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._state: MutableMapping[str, Any] = scope.setdefault("state", {})
        given = wire.request_identity(wire.single(scope["headers"], wire.REQUEST_IDENTITY))
        self.request_id = given or str(uuid4())
        self._state["request_id"] = self.request_id
        self.scope = scope
        self.status = 0
        self._send = send
        self._started_at = time.perf_counter()

    async def handle(self, gate: Gate, receive: Receive) -> None:
        try:
            limits.check_head(self.scope)
            gate.admit(self.scope)
            await gate.forward(self.scope, receive, self.send)
        except BrokerError as refusal:
            self._state["reason"] = refusal.description
            await self._refuse(error_response(refusal))
        except limits.HeadTooLarge:
            await self._refuse_unread(431, "The request's headers or URL are too large.", receive)
        except limits.BodyTooLarge:
            await self._refuse_unread(413, "The request's body is too large.", receive)
        except limits.BodyTooSlow:
            await self._refuse_unread(408, "The request's body did not arrive.", receive)
        except limits.ClientGone:
            pass
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
            seconds = time.perf_counter() - self._started_at
            gate.observe(self.scope["method"], self.status, seconds)
            self._log(seconds)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [
                *message.get("headers", ()),
                (wire.REQUEST_IDENTITY, self.request_id.encode("ascii")),
            ]
        await self._send(message)

    async def _refuse(self, response: ASGIApp) -> None:
        await response(self.scope, _nothing, self.send)

    async def _refuse_unread(self, status: int, description: str, receive: Receive) -> None:
        """Answer, take in what the client is still sending, and only then end the connection.

        Closed with unread bytes in it, it would be reset, and the reset can reach the client
        before the answer does (RFC 9112, section 9.6).
        """

        async def send_unended(message: Message) -> None:
            if message["type"] == "http.response.body":
                message["more_body"] = True
            await self.send(message)

        self._state["reason"] = description
        response = plain_error(status, description, {"Connection": "close"})
        await response(self.scope, _nothing, send_unended)
        await limits.discard_body(receive)
        await self.send({"type": "http.response.body"})

    def _log(self, seconds: float) -> None:
        method, refused = self.scope["method"], self.status >= HTTPStatus.BAD_REQUEST
        # A platform asks for the catalog and polls all day; changes are what one looks for.
        write = log.debug if method == "GET" and not refused else log.info
        why = {}
        if refused:
            # What the client was told, and who that is, for a request that came without a name.
            client = self.scope.get("client")
            why = {"reason": self._state.get("reason"), "client": client[0] if client else None}
        write(
            "request",
            method=method,
            path=quote(self.scope["path"]),  # it may hold line ends and terminal sequences
            status=self.status,
            milliseconds=round(seconds * 1000, 1),
            platform=self._state.get("platform"),
            request=self.request_id,
            **why,
        )


async def _nothing() -> Message:
    return {"type": "http.disconnect"}
