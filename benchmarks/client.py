"""The same work through the broker: its HTTP API, as a platform calls it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.place import Place

API_VERSION = "2.17"
_TIMEOUT = 120


class BrokerClient:
    """A platform with one keep-alive connection; one instance at a time.

    Args:
        place: The broker.
        ids: The offering and the plan, as every request has them.
    """

    def __init__(self, place: Place, ids: Mapping[str, str]) -> None:
        self._ids = dict(ids)
        self._http = httpx.AsyncClient(
            base_url=place.broker_url,
            auth=httpx.BasicAuth(place.username, place.password),
            headers={"X-Broker-API-Version": API_VERSION},
            timeout=_TIMEOUT,
        )
        self._instance = self._binding = ""

    @classmethod
    async def connected(cls, place: Place) -> BrokerClient:
        """Open the connection, and choose the first plan of the catalog."""
        client = cls(place, {})
        response = await client._http.get("/v2/catalog")
        response.raise_for_status()
        offering = response.json()["services"][0]
        client._ids = {"service_id": offering["id"], "plan_id": offering["plans"][0]["id"]}
        return client

    async def close(self) -> None:
        """Close the connection."""
        await self._http.aclose()

    async def provision(self) -> None:
        """Provision an instance."""
        self._instance = f"/v2/service_instances/{uuid4()}"
        await self._send("PUT", self._instance, 201)

    async def bind(self) -> Mapping[str, str]:
        """Bind it; return a connection's parameters."""
        self._binding = f"{self._instance}/service_bindings/{uuid4()}"
        credentials = (await self._send("PUT", self._binding, 201))["credentials"]
        return {
            "host": credentials["host"],
            "port": credentials["port"],
            "dbname": credentials["database"],
            "user": credentials["username"],
            "password": credentials["password"],
            "sslmode": credentials["sslmode"],
        }

    async def unbind(self) -> None:
        """Unbind it."""
        await self._send("DELETE", self._binding, 200)

    async def deprovision(self) -> None:
        """Deprovision it."""
        await self._send("DELETE", self._instance, 200)

    async def _send(self, method: str, path: str, status: int) -> dict[str, Any]:
        if method == "DELETE":
            response = await self._http.delete(path, params=self._ids)
        else:
            response = await self._http.put(path, json=self._ids)
        if response.status_code != status:
            raise RuntimeError(f"{method}: expected {status}, got {response.status_code}.")
        body: dict[str, Any] = response.json()
        return body
