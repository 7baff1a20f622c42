"""The verbs of the protocol, as a platform uses them, and what they have left with the broker.

Belongs here: one method per verb, each of which waits until its operation is over. Whatever may
exist is in ``instance`` and ``bindings`` until the broker has confirmed that it does not.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from broker.smoke.errors import BrokerRefused, StepFailed, Unanswered, Unreachable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.smoke.catalog import Choice
    from broker.smoke.client import Answer, Client

_PAUSE = 1.0
"""Seconds until a deletion that came too early is sent again."""

Credentials = dict[str, Any]


class Platform:
    """Uses one plan of a broker.

    Args:
        client: Sends the requests.
        choice: The plan.
    """

    def __init__(self, client: Client, choice: Choice) -> None:
        self._client = client
        self._choice = choice
        self._ids = {"service_id": choice.service_id, "plan_id": choice.plan_id}
        self._context = {"platform": "pgbroker-smoke", "instance_name": "smoke"}
        self.instance: str | None = None
        self.bindings: list[str] = []

    async def provision(self) -> int:
        """Provision an instance.

        Returns:
            The status of the first answer; the operation is over.
        """
        instance = self.instance = str(uuid4())
        body: dict[str, Any] = {
            **self._ids,
            "context": self._context,
            # Deprecated, and mandatory nevertheless.
            "organization_guid": str(uuid4()),
            "space_guid": str(uuid4()),
        }
        if self._choice.maintenance_version is not None:
            body["maintenance_info"] = {"version": self._choice.maintenance_version}
        try:
            answer = await self._put(_path(instance), body, expected=(201, 202))
        except (BrokerRefused, Unreachable) as exc:
            if _nothing_done(exc):
                self.instance = None
            raise
        await self._finish(_path(instance), answer)
        return answer.status

    async def fetch_instance(self, instance: str) -> Mapping[str, Any]:
        """Fetch an instance."""
        return (await self._get(_path(instance))).body

    async def bind(
        self,
        instance: str,
        *,
        predecessor: str | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> tuple[str, Credentials, int]:
        """Bind an instance, or rotate a binding of it.

        Args:
            instance: The instance.
            predecessor: The binding to rotate.
            parameters: Of a new binding.

        Returns:
            The binding's id, its credentials, and the status of the first answer.
        """
        binding = str(uuid4())
        self.bindings.append(binding)
        body: dict[str, Any] = {**self._ids, "context": self._context}
        if predecessor is not None:
            body["predecessor_binding_id"] = predecessor
        if parameters is not None:
            body["parameters"] = parameters
        path = _path(instance, binding)
        try:
            answer = await self._put(path, body, expected=(201, 202))
        except (BrokerRefused, Unreachable) as exc:
            if _nothing_done(exc):
                self.bindings.remove(binding)
            raise
        await self._finish(path, answer)
        fetched = answer.status == HTTPStatus.ACCEPTED
        found = (await self._get(path)).body if fetched else answer.body
        return binding, _credentials(found, path), answer.status

    async def fetch_binding(self, instance: str, binding: str) -> Credentials:
        """Fetch a binding's credentials."""
        path = _path(instance, binding)
        return _credentials((await self._get(path)).body, path)

    async def unbind(self, instance: str, binding: str) -> int:
        """Unbind; return the status of the first answer."""
        status = await self._delete(_path(instance, binding))
        self.bindings.remove(binding)
        return status

    async def deprovision(self, instance: str) -> int:
        """Deprovision an instance; return the status of the first answer."""
        status = await self._delete(_path(instance))
        self.instance = None
        return status

    async def expect_gone(self, instance: str, binding: str | None = None) -> None:
        """Delete what has been deleted before.

        Raises:
            StepFailed: The answer is not 410.
        """
        await self._send_delete(_path(instance, binding), expected=(410,))

    async def expect_not_found(self, instance: str) -> None:
        """Fetch an instance that does not exist.

        Raises:
            StepFailed: The answer is not 404.
        """
        await self._client.send("GET", _path(instance), expected=(404,), query=self._ids)

    async def remove(self, instance: str, binding: str | None = None) -> None:
        """Delete what may or may not exist, as soon as the broker is ready for it.

        Whatever the broker is still busy with, when a request was interrupted, has to end first.

        Raises:
            StepFailed: The broker cannot, or will not.
        """
        path = _path(instance, binding)
        while True:
            try:
                await self._delete(path, expected=(200, 202, 410))
            except (BrokerRefused, Unanswered) as exc:
                if not (isinstance(exc, BrokerRefused) and exc.busy):
                    raise
                await asyncio.sleep(_PAUSE)
            else:
                break
        if binding is None:
            self.instance = None
        else:
            self.bindings.remove(binding)

    def deletion(self, instance: str, binding: str | None = None) -> str:
        """Return the request that deletes an instance or binding, for somebody to send later."""
        query = "&".join(f"{name}={value}" for name, value in self._ids.items())
        return f"DELETE {_path(instance, binding)}?{query}"

    async def _put(
        self, path: str, body: Mapping[str, Any], *, expected: tuple[int, ...]
    ) -> Answer:
        query = {"accepts_incomplete": "true"}
        return await self._client.send("PUT", path, expected=expected, body=body, query=query)

    async def _get(self, path: str) -> Answer:
        return await self._client.send("GET", path, expected=(200,), query=self._ids)

    async def _delete(self, path: str, *, expected: tuple[int, ...] = (200, 202)) -> int:
        answer = await self._send_delete(path, expected=expected)
        await self._finish(path, answer, deleting=True)
        return answer.status

    async def _send_delete(self, path: str, *, expected: tuple[int, ...]) -> Answer:
        query = {**self._ids, "accepts_incomplete": "true"}
        return await self._client.send("DELETE", path, expected=expected, query=query)

    async def _finish(self, path: str, answer: Answer, *, deleting: bool = False) -> None:
        if answer.status != HTTPStatus.ACCEPTED:
            return
        operation = answer.body.get("operation")
        query = self._ids | ({"operation": operation} if isinstance(operation, str) else {})
        limit = self._choice.polling_seconds
        try:
            async with asyncio.timeout(limit):
                await self._client.poll(path, query, deleting=deleting)
        except TimeoutError:
            raise StepFailed(
                f"The operation is not over after the {limit} s that the plan allows for it."
            ) from None


def _path(instance: str, binding: str | None = None) -> str:
    path = f"/v2/service_instances/{instance}"
    return path if binding is None else f"{path}/service_bindings/{binding}"


def _nothing_done(exc: BrokerRefused | Unreachable) -> bool:
    return isinstance(exc, Unreachable) or exc.nothing_done


def _credentials(body: Mapping[str, Any], path: str) -> Credentials:
    credentials = body.get("credentials")
    if not isinstance(credentials, dict) or not credentials:
        raise StepFailed(f"{path}: expected an object 'credentials', and there is none.")
    return credentials
