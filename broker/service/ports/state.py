"""The broker's state, as protocols; the store supplies them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime, timedelta
    from uuid import UUID

    from broker.domain.drift import Drift, DriftKind
    from broker.domain.figures import Figures
    from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey, Status
    from broker.domain.inventory import InstanceCount
    from broker.domain.operation import Operation
    from broker.domain.placement import Occupancy
    from broker.service.ports.deleted import DeletedRecords
    from broker.service.ports.transaction import StateTransaction
    from broker.service.ports.warm import WarmRecords
    from broker.service.storage import StorageRecords


class Census(Protocol):
    """Reading all there is, without locking it."""

    async def instances(self, server: str, *, after: str, limit: int) -> Sequence[Instance]:
        """Read the instances on a server, a page at a time, by the names of their databases.

        Args:
            server: Its configured name.
            after: The last database of the page before; empty for the first page.
            limit: The most to read.
        """

    async def bindings(self, key: InstanceKey) -> Sequence[Binding]:
        """Read all bindings of an instance."""

    async def counts(self) -> Sequence[InstanceCount]:
        """Count the instances, by platform and plan."""

    async def on_servers(self) -> Mapping[str, int]:
        """Count the instances on each server, by its configured name."""

    async def holds(self, database: str) -> bool:
        """Tell whether an instance has a database of that name, whatever its server is called."""

    async def instance_of(self, server: str, database: str) -> Instance | None:
        """Read the instance that has a database; ``None`` when none has it."""

    async def busy(self, key: InstanceKey) -> bool:
        """Tell whether something is in progress on an instance or on one of its bindings.

        That is an operation, or the handing over of a database of the warm stock.
        """


class DriftRecords(Protocol):
    """What the last look at each server has found, for all replicas."""

    async def first_seen(self, server: str) -> Mapping[tuple[DriftKind, str], datetime]:
        """Return since when each thing is known to be wrong, by kind and subject."""

    async def replace(
        self, server: str, found: Sequence[Drift], now: datetime, *, skipped: Collection[str]
    ) -> None:
        """Record what one look at a server has found, in place of what the one before did.

        Args:
            server: Its name.
            found: What is wrong.
            now: The time of the look.
            skipped: Databases that were not looked at: what is known of them stays.
        """

    async def counts(self) -> Mapping[tuple[str, DriftKind, bool], int]:
        """Count what was found, by server, kind, and whether it has been resolved."""

    async def looks_lost(self, servers: Sequence[str]) -> bool:
        """Tell whether the last look at one of these servers says that the state is lost."""

    async def looked_at(self) -> Mapping[str, datetime]:
        """Return when each server was last looked at to the end."""


class FigureRecords(Protocol):
    """The state in numbers."""

    async def read(self) -> Figures:
        """Read the figures, as they are at this moment."""


class Store(Protocol):
    """The broker's state."""

    @property
    def deleted(self) -> DeletedRecords:
        """The deleted instances whose data is kept."""

    @property
    def storage(self) -> StorageRecords:
        """What databases occupy."""

    @property
    def warm(self) -> WarmRecords:
        """The records of the warm stock."""

    @property
    def census(self) -> Census:
        """Reads all there is."""

    @property
    def figures(self) -> FigureRecords:
        """Counts what there is."""

    @property
    def drift(self) -> DriftRecords:
        """What the last look at each server has found."""

    def transaction(self) -> AbstractAsyncContextManager[StateTransaction]:
        """Open a transaction.

        Raises:
            StateUnavailable: The state database cannot be reached.
        """

    async def instance(self, key: InstanceKey) -> Instance | None:
        """Read an instance without locking it."""

    async def binding(self, key: BindingKey) -> Binding | None:
        """Read a binding without locking it."""

    async def operation(self, operation_id: UUID) -> Operation | None:
        """Read an operation."""

    async def last_operation(
        self, key: InstanceKey, binding_id: str | None = None
    ) -> Operation | None:
        """Read the newest operation on the instance itself, or on that binding of it."""

    def recent_occupancy(self) -> Occupancy | None:
        """Return what was on all servers a moment ago, if that is known; its cordons are as old."""

    async def record_new(
        self, operation: Operation, instance: Instance, *, lease: timedelta
    ) -> bool:
        """Insert an instance and its operation, in progress, where nothing has been looked at.

        Args:
            operation: Leased to whoever holds its token.
            instance: What it makes.
            lease: How long the holder may stay silent.

        Returns:
            ``False`` when the key is taken, or the server is cordoned; then nothing has changed.

        Raises:
            ConcurrencyError: One is in progress on the same instance.
            StateUnavailable: It may have been recorded all the same; the same request tells.
        """

    async def extend_lease(self, operation: Operation, *, lease: timedelta) -> bool:
        """Keep an operation ours for longer; ``False`` when it is not ours any more."""

    async def holds_lease(self, operation: Operation) -> bool:
        """Tell whether an operation is in progress and still ours; locks nothing."""

    async def describe(self, operation: Operation, description: str) -> None:
        """Let whoever polls an operation of ours know what it is waiting for."""

    async def finish(self, operation: Operation, status: Status | None) -> bool:
        """Record the end of an operation and what has become of its instance or binding.

        Args:
            operation: As it is now; its binding if it names one, else its instance, is changed.
            status: ``None`` removes it.

        Returns:
            ``False`` when the operation is not ours any more; then nothing has changed.
        """
