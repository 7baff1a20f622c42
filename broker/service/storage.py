"""What the enforcement of storage limits needs of the state: a protocol, and its record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from broker.domain.instance import InstanceKey
    from broker.domain.storage import StorageState, StorageUse


@dataclass(frozen=True, slots=True)
class StoredInstance:
    """As much of a finished instance as its storage limit concerns.

    Attributes:
        key: Which one.
        service_id: Its offering.
        plan_id: Its plan.
        server: The server that holds the database.
        database: The database.
        storage: Whether its bindings may write.
        use: What it was last seen to occupy.
    """

    key: InstanceKey
    service_id: str
    plan_id: str
    server: str
    database: str
    storage: StorageState
    use: StorageUse | None


class StorageRecords(Protocol):
    """What databases occupy, as the state remembers it."""

    async def anything_restricted(self) -> bool:
        """Tell whether some instance is full, or about to be released."""

    async def ready(self) -> Sequence[StoredInstance]:
        """Read all finished instances with their last measurements."""

    async def of(self, key: InstanceKey) -> StorageUse | None:
        """Read the last measurement of an instance, ``None`` when there is none yet."""

    async def record(self, server: str, sizes: Mapping[str, int], now: datetime) -> None:
        """Remember what databases of a server occupy, in bytes by name.

        Each instance's is remembered apart; all of them together are what the server is taken by,
        whosever they are, unless they bear no name of the broker's choice.
        """

    async def allow_writes(self, key: InstanceKey, until: datetime) -> bool:
        """Let an instance write over its limit; ``False`` when it was never measured."""
