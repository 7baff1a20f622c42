"""The warm stock, as protocols; the store and ``broker/operations`` supply them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.domain.catalog import Plan
    from broker.domain.instance import Instance
    from broker.domain.operation import Operation
    from broker.domain.warm import Location, WarmDatabase


class WarmRecords(Protocol):
    """The records of the warm stock."""

    async def listed(self) -> list[WarmDatabase]:
        """Read the whole stock, the oldest first."""

    async def claim(self, fingerprint: str, servers: Sequence[str]) -> Location | None:
        """Take a ready database out of the stock; ``None`` when there is none.

        Args:
            fingerprint: What it must have been made like.
            servers: Where it may be; those that are cordoned do not count.
        """

    async def hand_over(
        self,
        instance: Instance,
        operation: Operation,
        *,
        fingerprint: str,
        servers: Sequence[str],
    ) -> Location | None:
        """Record a new instance as finished, with a ready database of the stock, at once.

        Args:
            instance: The instance; where it is, is replaced by where that database is.
            operation: Its provision, as it has ended.
            fingerprint: What the database must have been made like.
            servers: Where it may be; those that are cordoned do not count.

        Returns:
            ``None`` when there is no such database, or the instance's key is taken; then nothing
            has changed. Asked again because the answer got lost, it is ``None``, too.
        """

    async def is_claimed(self, database: str) -> bool:
        """Tell whether a database was handed over and does not say so yet."""

    async def adopted(self, database: str) -> None:
        """Forget a database that says whose it is."""

    async def add(self, warm: WarmDatabase) -> None:
        """Record a database that is about to be made."""

    async def is_being_made(self, database: str) -> bool:
        """Tell whether a database is still to be made."""

    async def ready(self, database: str) -> bool:
        """Record that a database is ready; ``False`` when it was given up in the meantime."""

    async def release(self, warm: WarmDatabase) -> bool:
        """Take a database out of the stock, to be dropped; ``False`` when it has changed."""

    async def give_up(self, database: str) -> bool:
        """Make sure that a database is only to be dropped; ``False`` when it is not, or is gone."""

    async def forget(self, database: str) -> None:
        """Forget a database that was dropped."""


class Stock(Protocol):
    """Keeps databases ready for instances that nobody has asked for yet."""

    def refill_soon(self) -> None:
        """Tag what was handed over, and make what is missing, in the background, in a moment."""

    async def make_room(self, plan: Plan) -> bool:
        """Drop what of the stock keeps every server from taking one more database of a plan.

        Returns:
            ``False`` when the stock is not what keeps them from it.
        """
