"""The configured servers, as a protocol; ``broker/providers`` supplies it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.domain.catalog import Plan
    from broker.domain.database import Endpoint
    from broker.domain.placement import Occupancy
    from broker.service.ports.engine import Engine


class Servers(Protocol):
    """The configured servers (a provider)."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all of them."""

    def limited(self, plan: Plan) -> bool:
        """Tell whether a server of the plan's pool has a limited capacity."""

    def suitable(self, plan: Plan, *, with_away: bool = False) -> tuple[str, ...]:
        """Return the servers that databases of a plan may be on.

        Args:
            plan: The databases' plan.
            with_away: Also those that do not answer.
        """

    def reachable(self) -> Mapping[str, bool]:
        """Return whether each server answered this process the last time, by name."""

    def room(self, plan: Plan, occupancy: Occupancy) -> tuple[str, ...]:
        """Return the servers that could take one more database of a plan, and that answer.

        Args:
            plan: The database's plan.
            occupancy: What is on all servers.
        """

    def place(self, plan: Plan, occupancy: Occupancy) -> str:
        """Choose the server for a new database.

        Args:
            plan: Its pool is the one to choose from.
            occupancy: What is on all servers.

        Raises:
            PoolExhausted: No server of the pool can take it.
        """

    def check_growth(
        self, server: str, before: Plan | None, after: Plan, occupancy: Occupancy
    ) -> None:
        """Make sure that a database may move to another plan on its server.

        Args:
            server: The server it is on.
            before: Its plan, if the catalog still has it.
            after: The plan it shall have.
            occupancy: What is on all servers.

        Raises:
            UpdateRefused: The server lacks the plan's labels, or what the plan promises.
        """

    def serves(self, plan: Plan, server: str) -> bool:
        """Tell whether a server is one of the plan's pool, with the labels it requires."""

    def engine(self, server: str) -> Engine:
        """Return the engine of a server.

        Raises:
            ServerUnavailable: The server is no longer configured.
        """

    def endpoint(self, server: str) -> Endpoint:
        """Return how tenants reach a server.

        Raises:
            ServerUnavailable: The server is no longer configured.
        """
