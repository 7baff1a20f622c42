"""Dropping the data of deleted instances whose time has passed, or that an operator gave up.

Recorded before it is done: what is marked to be purged is never restored, and is dropped by
whichever replica comes first, again and again until it is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from broker.domain.deleted import Stage
from broker.domain.errors import BrokerError, NotFound, TemporaryFailure
from broker.operations.steps import retention_of
from broker.service.undelete import begin_purge

if TYPE_CHECKING:
    from broker.domain.deleted import DeletedInstance
    from broker.service.context import Broker
    from broker.service.ports import Tags

log = structlog.get_logger()

PER_SERVER = 50
"""The most databases of one server that one run drops."""


class Purge:
    """Drops retained databases.

    Args:
        broker: The collaborators.
        tags: For the COMMENT that proves that a database is the one to be dropped.
    """

    def __init__(self, broker: Broker, tags: Tags) -> None:
        self._broker = broker
        self._tags = tags

    async def due(self) -> None:
        """Drop what is due; a server that is out of reach, or one bad case, stops no other."""
        out_of_reach: set[str] = set()
        due = await self._broker.store.deleted.due(self._broker.clock(), per_server=PER_SERVER)
        for deleted in due:
            server = deleted.instance.server
            if server in out_of_reach:
                continue
            try:
                await self.one(deleted)
            except BrokerError as exc:
                if isinstance(exc, TemporaryFailure):
                    out_of_reach.add(server)
                log.warning(
                    "deleted instance not purged",
                    id=str(deleted.id),
                    server=server,
                    reason=exc.description,
                )

    async def one(self, deleted: DeletedInstance) -> None:
        """Drop the data of one deleted instance.

        Raises:
            NotFound: It is gone already.
            Unprocessable: It is being deleted or restored.
            TemporaryFailure: Its server is out of reach; it is dropped later.
        """
        broker = self._broker
        purging = await begin_purge(broker, deleted.id)
        former = purging.instance
        retention = retention_of(purging, None, self._tags)

        async def confirm() -> None:
            current = await broker.store.deleted.find(purging.id)
            if current is None or current.stage is not Stage.PURGING:
                raise NotFound(f"The deleted instance {purging.id} is gone already.")

        await broker.servers.engine(former.server).exclusively(
            former.database, lambda database: database.purge_database(retention), confirm=confirm
        )
        async with broker.store.transaction() as state:
            await state.deleted.remove(purging.id)
        log.info(
            "deleted instance purged",
            id=str(purging.id),
            platform=former.key.platform,
            instance=former.key.instance_id,
        )
