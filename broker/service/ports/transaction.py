"""One transaction on the broker's state, as a protocol; the store supplies it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import timedelta
    from uuid import UUID

    from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey, Status
    from broker.domain.operation import Operation
    from broker.domain.placement import Occupancy
    from broker.service.ports.deleted import DeletedRecordsTransaction
    from broker.service.ports.warm import WarmRecords


class StateTransaction(Protocol):
    """One transaction on the broker's state; leaving it without an exception commits."""

    @property
    def deleted(self) -> DeletedRecordsTransaction:
        """The deleted instances whose data is kept."""

    @property
    def warm(self) -> WarmRecords:
        """The records of the warm stock."""

    async def instance(self, key: InstanceKey) -> Instance | None:
        """Read an instance and lock it until the transaction ends."""

    async def instance_being_added(self, key: InstanceKey) -> Instance | None:
        """Wait for transactions that add an instance, then read and lock it."""

    async def binding(self, key: BindingKey) -> Binding | None:
        """Read a binding and lock it until the transaction ends."""

    async def bindings(self, key: InstanceKey) -> list[Binding]:
        """Read all bindings of an instance."""

    async def active_operations(self, key: InstanceKey) -> list[Operation]:
        """Read what is in progress on the instance and on its bindings, the oldest first."""

    async def occupancy(self, *, exclusively: bool) -> Occupancy:
        """Count what is on each server, and read which servers are cordoned.

        Args:
            exclusively: Let no other transaction count exclusively until this one ends, so that
                two cannot take the same last place.
        """

    async def add_instance(self, instance: Instance) -> bool:
        """Insert an instance; ``False`` when the key is taken by then."""

    async def add_binding(self, binding: Binding) -> bool:
        """Insert a binding; ``False`` when the key is taken by then."""

    async def save_instance(self, instance: Instance) -> None:
        """Overwrite an instance."""

    async def set_instance_status(self, key: InstanceKey, status: Status) -> None:
        """Change nothing of an instance but its status."""

    async def set_tag_key(self, key: InstanceKey, key_id: str) -> None:
        """Record the key that an instance's tags are made with from now on."""

    async def set_binding_status(self, key: BindingKey, status: Status) -> None:
        """Change nothing of a binding but its status."""

    async def set_binding_secret(self, binding: Binding) -> None:
        """Change nothing of a binding but its password."""

    async def remove_instance(self, key: InstanceKey) -> None:
        """Delete an instance with all its bindings."""

    async def add_operation(self, operation: Operation, *, lease: timedelta) -> None:
        """Insert an operation in progress, leased to whoever holds its token."""

    async def record(
        self, operation: Operation, subject: Instance | Binding | Status, *, lease: timedelta
    ) -> bool:
        """Insert an operation in progress together with what it makes, or what becomes of it.

        Args:
            operation: Leased to whoever holds its token.
            subject: The instance or binding to insert, or the status that the operation's instance
                or binding has while it is in progress.
            lease: How long the holder may stay silent.

        Returns:
            ``False`` when the key of the instance or binding is taken by then.
        """

    async def take_over(
        self, operation: Operation, *, token: UUID, lease: timedelta
    ) -> Operation | None:
        """Lease an operation whose lease has run out; ``None`` when it has not."""

    async def finish_operation(self, operation: Operation) -> bool:
        """Record the end of an operation; ``False`` when its lease token is not ours any more."""

    async def halt_operation(self, operation: Operation) -> bool:
        """Record the end of an operation, whoever runs it; ``False`` when it is over."""
