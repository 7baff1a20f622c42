"""The same work through the broker: its HTTP API, as a platform calls it.

The client is as small as the one in ``load.py``: what a platform's own costs is not the broker's.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.place import Place

_ANSWER_SECONDS = 120


@dataclass(slots=True)
class BrokerClient:
    """A platform with one keep-alive connection; one instance at a time.

    Attributes:
        place: The broker.
        reader: Of the connection.
        writer: Of the connection.
        ids: The offering and the plan, as every request has them.
    """

    place: Place
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ids: dict[str, str] = field(default_factory=dict)
    _instance: str = ""
    _binding: str = ""

    @classmethod
    async def connected(cls, place: Place) -> BrokerClient:
        """Open the connection, and choose the first plan of the catalog."""
        client = cls(place, *await asyncio.open_connection(*place.broker_address))
        catalog = await client._send("GET", "/v2/catalog", 200)
        offering = catalog["services"][0]
        client.ids = {"service_id": offering["id"], "plan_id": offering["plans"][0]["id"]}
        return client

    async def reconnect(self) -> None:
        """Open another connection: the broker has closed one that was idle for seconds."""
        await self.close()
        self.reader, self.writer = await asyncio.open_connection(*self.place.broker_address)

    async def close(self) -> None:
        """Close the connection."""
        self.writer.close()
        await self.writer.wait_closed()

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

    async def _send(self, method: str, path: str, expected: int) -> dict[str, Any]:
        """Send a request and read the JSON object it is answered with.

        Raises:
            RuntimeError: The broker answered with another status.
        """
        body = json.dumps(self.ids).encode() if method == "PUT" else b""
        query = f"?{urlencode(self.ids)}" if method == "DELETE" else ""
        lines = [
            f"{method} {path}{query} HTTP/1.1",
            *(f"{name}: {value}" for name, value in self.place.headers.items()),
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        async with asyncio.timeout(_ANSWER_SECONDS):
            self.writer.write("\r\n".join([*lines, "", ""]).encode("ascii") + body)
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            length = int(head.partition("\r\ncontent-length:")[2].partition("\r\n")[0])
            answer = await self.reader.readexactly(length)
        status = int(head.split(maxsplit=2)[1])
        if status != expected:
            raise RuntimeError(
                f"{method} {path}: expected {expected}, got {status}: {answer.decode()}"
            )
        decoded: dict[str, Any] = json.loads(answer)
        return decoded
