"""What the service needs to keep deleted instances, as protocols; the store supplies them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from broker.domain.deleted import DeletedInstance
    from broker.domain.instance import InstanceKey


class DeletedRecords(Protocol):
    """The records of deleted instances, read without locking them."""

    async def find(self, deletion: UUID) -> DeletedInstance | None:
        """Read one by its own id."""

    async def retained(self, former: InstanceKey) -> DeletedInstance | None:
        """Read the newest that is retained and was once called so."""

    async def listed(self) -> Sequence[DeletedInstance]:
        """Read all, the oldest deletion first."""

    async def due(self, now: datetime, *, per_server: int) -> Sequence[DeletedInstance]:
        """Read those to be dropped: whose time has passed, and whose dropping was begun.

        Args:
            now: The time.
            per_server: The most of one server, the longest overdue first.
        """


class DeletedRecordsTransaction(Protocol):
    """The records of deleted instances, within a transaction on the state."""

    async def lock(self, deletion: UUID) -> DeletedInstance | None:
        """Read one by its own id and lock it until the transaction ends."""

    async def attached(self, key: InstanceKey) -> DeletedInstance | None:
        """Read and lock the one that goes with an instance record."""

    async def claimed(self, server: str, database: str) -> bool:
        """Tell whether an instance, or a deleted one, has a database."""

    async def add(self, deleted: DeletedInstance) -> None:
        """Insert one."""

    async def save(self, deleted: DeletedInstance) -> None:
        """Overwrite the stage of one, and what it is attached to."""

    async def set_tag_key(self, deletion: UUID, key_id: str) -> None:
        """Record the key that its tags are made with from now on."""

    async def remove(self, deletion: UUID) -> None:
        """Delete one."""
