"""Requests to a broker, and what its answers mean.

Belongs here: the headers every request has, statuses that were not expected, polling.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import httpx

from broker.smoke.errors import BrokerRefused, StepFailed, Unanswered, Unreachable

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from types import TracebackType

    from broker.smoke.target import Target

API_VERSION = "2.17"
REQUEST_TIMEOUT = 60.0
"""Seconds: what the specification recommends that platforms wait for an answer."""

_CONNECT_TIMEOUT = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_LONGEST_RETRY_AFTER = 60.0
_MAX_QUOTED = 500


@dataclass(frozen=True, slots=True)
class Answer:
    """A broker's answer to a request that it did not refuse.

    Attributes:
        status: The HTTP status.
        body: The JSON object; empty without one.
        retry_after: Seconds the broker wants to be left alone for.
    """

    status: int
    body: Mapping[str, Any]
    retry_after: float | None


class Client:
    """Talks to one broker; an asynchronous context manager.

    Args:
        target: The broker.
    """

    def __init__(self, target: Target) -> None:
        self._url = target.url
        self._http = httpx.AsyncClient(
            base_url=target.url,
            auth=httpx.BasicAuth(target.username, target.password.reveal()),
            headers={"X-Broker-API-Version": API_VERSION, "Accept": "application/json"},
            verify=target.tls,
            timeout=httpx.Timeout(REQUEST_TIMEOUT, connect=_CONNECT_TIMEOUT),
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.__aexit__(kind, value, trace)

    async def send(
        self,
        method: str,
        path: str,
        *,
        expected: Collection[int],
        body: Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send a request.

        Args:
            method: HTTP method.
            path: Below the broker's URL.
            expected: The statuses that are a success.
            body: For a JSON body.
            query: For the URL.

        Raises:
            BrokerRefused: Any other status.
            Unreachable: Nothing has been sent.
            Unanswered: It has been sent, and no usable answer came.
        """
        request_id = str(uuid4())
        try:
            response = await self._http.request(
                method,
                path,
                json=body,
                params=query,
                headers={"X-Broker-API-Request-Identity": request_id},
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as exc:
            raise Unreachable(f"No connection to {self._url}: {_reason(exc)}") from exc
        except httpx.RequestError as exc:
            raise Unanswered(
                f"{method} {path}: no answer (request {request_id}): {_reason(exc)}"
            ) from exc
        if response.status_code not in expected:
            raise _refused(response, method, path, expected, request_id)
        return Answer(response.status_code, _body(response, method, path), _retry_after(response))

    async def poll(self, path: str, query: Mapping[str, str], *, deleting: bool) -> None:
        """Ask for the last operation until it has succeeded.

        See OSB API 2.17, "Polling Last Operation".

        Args:
            path: Of the instance or the binding.
            query: Its ids, and the operation when the broker named one.
            deleting: 410 is a success, too.

        Raises:
            StepFailed: It has failed, or the broker does not say how it goes.
        """
        pause = _FIRST_PAUSE
        expected = (200, 410) if deleting else (200,)
        where = f"{path}/last_operation"
        while True:
            answer = await self.send("GET", where, expected=expected, query=query)
            state = answer.body.get("state")
            if answer.status == httpx.codes.GONE or state == "succeeded":
                return
            if state == "failed":
                description = answer.body.get("description") or "the broker does not say why"
                raise StepFailed(f"The operation failed: {description}")
            if state != "in progress":
                raise StepFailed(
                    f"GET {where}: the state is {state!r}; expected 'in progress', 'succeeded' or "
                    "'failed'."
                )
            await asyncio.sleep(answer.retry_after or pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)


def _refused(
    response: httpx.Response, method: str, path: str, expected: Collection[int], request_id: str
) -> BrokerRefused:
    error: dict[str, Any] = {}
    try:
        decoded = response.json()
        error = decoded if isinstance(decoded, dict) else {}
    except ValueError:
        pass  # a proxy's page, which the status says enough about
    description, code = error.get("description"), error.get("error")
    wanted = " or ".join(map(str, expected))
    said = f": {str(description)[:_MAX_QUOTED]}" if description else " without a description."
    named = f"{code}; " if code else ""
    return BrokerRefused(
        f"{method} {path}: expected {wanted}, got {response.status_code}{said} "
        f"({named}request {request_id})",
        status=response.status_code,
        code=code if isinstance(code, str) else None,
    )


def _body(response: httpx.Response, method: str, path: str) -> dict[str, Any]:
    """Read the body of a success; that of an error which was expected may be anything."""
    if response.is_error:
        return {}
    try:
        decoded = response.json()
    except ValueError:
        decoded = None
    if not isinstance(decoded, dict):
        raise Unanswered(
            f"{method} {path}: the body of the {response.status_code} is not a JSON object."
        )
    return decoded


def _retry_after(response: httpx.Response) -> float | None:
    value = response.headers.get("Retry-After", "")
    return min(float(value), _LONGEST_RETRY_AFTER) if value.isdecimal() else None


def _reason(exc: httpx.RequestError) -> str:
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return (
                f"its certificate is not trusted ({cause.verify_message}). Name its issuer's with "
                "--ca-file."
            )
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed ({cause.reason}). Does it speak https there?"
        cause = cause.__cause__ or cause.__context__
    said = str(exc).rstrip(".") or type(exc).__name__
    return f"{said}. Is the broker running there?"
