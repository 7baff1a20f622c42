"""The provider ``shared``: a server out of a configured pool."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.domain.errors import PoolExhausted, ServerUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from broker.domain.catalog import Plan
    from broker.domain.database import Endpoint
    from broker.service.ports import Engine


@dataclass(frozen=True, slots=True)
class SharedServer:
    """A configured server.

    Attributes:
        name: Recorded with every instance on it.
        pool: What plans choose by.
        endpoint: How tenants reach it.
        engine: What the broker does on it.
        max_databases: How many it may hold; ``None`` is no limit.
    """

    name: str
    pool: str
    endpoint: Endpoint
    engine: Engine
    max_databases: int | None = None


class SharedServers:
    """The configured servers (``broker.service.ports.Servers``)."""

    def __init__(self, servers: Iterable[SharedServer]) -> None:
        """Remember the servers, in the order of the servers file."""
        self._servers = {server.name: server for server in servers}

    def limited(self, plan: Plan) -> bool:
        """Tell whether a server of the plan's pool has a limit on its databases."""
        return any(server.max_databases is not None for server in self._pool(plan))

    def place(self, plan: Plan, databases: Mapping[str, int]) -> str:
        """Choose the server of the plan's pool that holds the fewest databases.

        Args:
            plan: Its pool is the one to choose from.
            databases: How many databases each server holds, by server name.

        Raises:
            PoolExhausted: No server of the pool has room.
        """
        pool = self._pool(plan)
        if not pool:
            raise PoolExhausted(
                f"The pool {plan.pool!r} of the plan {plan.name!r} has no servers; the operator of "
                "this broker has to add one."
            )
        with_room = [
            server
            for server in pool
            if server.max_databases is None or databases.get(server.name, 0) < server.max_databases
        ]
        if not with_room:
            raise PoolExhausted(
                f"All servers of the pool {plan.pool!r} are full; delete a service instance, or "
                "ask the operator of this broker to add a server."
            )
        return min(with_room, key=lambda server: databases.get(server.name, 0)).name

    def engine(self, server: str) -> Engine:
        """Return the engine of a server.

        Raises:
            ServerUnavailable: The server is no longer configured.
        """
        return self._find(server).engine

    def endpoint(self, server: str) -> Endpoint:
        """Return how tenants reach a server.

        Raises:
            ServerUnavailable: The server is no longer configured.
        """
        return self._find(server).endpoint

    def _pool(self, plan: Plan) -> list[SharedServer]:
        return [server for server in self._servers.values() if server.pool == plan.pool]

    def _find(self, name: str) -> SharedServer:
        try:
            return self._servers[name]
        except KeyError:
            raise ServerUnavailable(
                f"The server {name!r} of this service instance is no longer in the broker's "
                "servers file; the operator has to put it back."
            ) from None
