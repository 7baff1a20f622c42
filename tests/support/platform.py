"""A platform, as far as it talks to a broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote
from uuid import uuid4

import httpx
import psycopg

from tests.support.catalog import SERVICE, SMALL

if TYPE_CHECKING:
    from types import TracebackType

_PATIENCE = 30


def new_id() -> str:
    """Return an id nobody has used."""
    return str(uuid4())


class Platform:
    """Sends the requests of the protocol, and returns the responses as they are.

    Args:
        url: The broker.
        login: User name and password.
        context: Of every provision that has no other.
    """

    def __init__(
        self, url: str, login: tuple[str, str], *, context: dict[str, Any] | None = None
    ) -> None:
        self._place = {} if context is None else {"context": context}
        self.http = httpx.Client(
            base_url=url,
            auth=httpx.BasicAuth(*login),
            headers={"X-Broker-API-Version": "2.17"},
            timeout=_PATIENCE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.http.close()

    def provision(
        self, instance: str, plan: str = SMALL, *, query: str = "", **fields: Any
    ) -> httpx.Response:
        """Provision an instance."""
        body = {"service_id": SERVICE, "plan_id": plan, **self._place, **fields}
        return self.http.put(f"{path(instance)}{query}", json=body)

    def update(self, instance: str, *, query: str = "", **fields: Any) -> httpx.Response:
        """Update an instance."""
        return self.http.patch(f"{path(instance)}{query}", json={"service_id": SERVICE, **fields})

    def fetch(self, instance: str, binding: str | None = None, query: str = "") -> httpx.Response:
        """Fetch an instance, or one of its bindings."""
        return self.http.get(f"{path(instance, binding)}{query}")

    def deprovision(self, instance: str, plan: str = SMALL, **query: str) -> httpx.Response:
        """Deprovision an instance."""
        return self.http.delete(
            path(instance), params={"service_id": SERVICE, "plan_id": plan, **query}
        )

    def bind(
        self,
        instance: str,
        binding: str,
        plan: str | None = SMALL,
        *,
        query: str = "",
        **fields: Any,
    ) -> httpx.Response:
        """Bind an instance; without a plan, the body has the given fields only."""
        named = {} if plan is None else {"service_id": SERVICE, "plan_id": plan}
        return self.http.put(f"{path(instance, binding)}{query}", json={**named, **fields})

    def unbind(
        self, instance: str, binding: str, plan: str = SMALL, **query: str
    ) -> httpx.Response:
        """Unbind."""
        return self.http.delete(
            path(instance, binding), params={"service_id": SERVICE, "plan_id": plan, **query}
        )

    def poll(self, instance: str, binding: str | None = None, **query: str) -> httpx.Response:
        """Poll the last operation."""
        return self.http.get(f"{path(instance, binding)}/last_operation", params=query)

    async def polled(
        self, instance: str, binding: str | None = None, **query: str
    ) -> httpx.Response:
        """Poll until the operation is over, as platforms do."""
        async with asyncio.timeout(_PATIENCE):
            while True:
                response = await asyncio.to_thread(self.poll, instance, binding, **query)
                if response.status_code != httpx.codes.OK:
                    return response
                if response.json()["state"] != "in progress":
                    return response

    def provisioned(self, plan: str = SMALL, **fields: Any) -> str:
        """Provision an instance that is not refused, and return its id."""
        instance = new_id()
        assert self.provision(instance, plan, **fields).status_code == httpx.codes.CREATED
        return instance

    def bound(self, plan: str = SMALL, **fields: Any) -> tuple[str, str, dict[str, Any]]:
        """Provision and bind; return both ids and the credentials."""
        instance, binding = self.provisioned(plan, **fields), new_id()
        return instance, binding, self.credentials(instance, binding, plan)

    def credentials(
        self, instance: str, binding: str, plan: str = SMALL, **fields: Any
    ) -> dict[str, Any]:
        """Bind an instance, without being refused, and return the credentials."""
        response = self.bind(instance, binding, plan, **fields)
        assert response.status_code == httpx.codes.CREATED
        credentials: dict[str, Any] = response.json()["credentials"]
        return credentials


def path(instance: str, binding: str | None = None) -> str:
    """Return the path of an instance or binding, its ids encoded."""
    location = f"/v2/service_instances/{quote(instance, safe='')}"
    return location if binding is None else f"{location}/service_bindings/{quote(binding, safe='')}"


def rows(
    credentials: dict[str, Any], statement: str, *, options: str = ""
) -> list[tuple[Any, ...]]:
    """Run a statement with a binding's credentials, as an application does.

    Args:
        credentials: Of a bind response.
        statement: SQL.
        options: libpq's ``options``: settings of the session.
    """
    with psycopg.connect(
        credentials["uri"], connect_timeout=10, autocommit=True, options=options
    ) as db:
        cursor = db.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def can_connect(credentials: dict[str, Any]) -> bool:
    """Tell whether credentials are of any use."""
    try:
        rows(credentials, "SELECT 1")
    except psycopg.OperationalError:
        return False
    return True
