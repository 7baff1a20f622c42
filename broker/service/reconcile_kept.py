"""Reconcile what is kept of a deleted instance, under the lock of its database."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.domain.database import tag_of
from broker.domain.deleted import Stage
from broker.domain.drift import Deviation, DriftKind
from broker.domain.names import retained_name
from broker.service.reconcile_database import InProgress

if TYPE_CHECKING:
    from broker.domain.deleted import DeletedInstance
    from broker.service.ports import DatabaseSession, Store


@dataclass(slots=True)
class KeptDatabase:
    """A database that is kept, and was not as it should be when the server was listed.

    Attributes:
        store: To ask again.
        deleted: The deletion.
        tag: What its comment must begin with.
        found: What is wrong, and whether it has been seen to.
    """

    store: Store
    deleted: DeletedInstance
    tag: str
    found: list[tuple[Deviation, bool]] = field(default_factory=list)

    async def confirm(self) -> None:
        """Make sure that it is still to be kept.

        Raises:
            InProgress: It is being restored or dropped, or has been.
        """
        current = await self.store.deleted.find(self.deleted.id)
        if current is None or current.stage is not Stage.RETAINED:
            raise InProgress

    async def work(self, session: DatabaseSession) -> None:
        """Look again; a missing database is never made again."""
        self.found = []
        name = retained_name(self.deleted.instance.database)
        there = (await session.listed((), database=name)).databases.get(name)
        if there is not None:
            if there.comment is None or tag_of(there.comment) != self.tag:
                detail = (
                    "The comment on a database that is kept is not the broker's any more, so that "
                    "it can be neither restored nor dropped. Find out who has changed it."
                )
                self.found.append((Deviation(DriftKind.FOREIGN, name, detail), False))
            return
        detail = (
            "The database that is kept of this deleted instance is gone. Restore it from a backup "
            f"under this name, or give it up: pgbroker instances purge {self.deleted.id}."
        )
        self.found.append((Deviation(DriftKind.DATABASE_MISSING, name, detail), False))
