"""What the last look at each server has found: so that every replica can tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import all_, any_, bindparam, delete, func, select, true
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.types import Text

from broker.domain.drift import DriftKind
from broker.store.tables import drift, reconciled

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from broker.domain.drift import Drift
    from broker.store.execution import Execute

_FIRST_SEEN = select(drift.c.kind, drift.c.subject, drift.c.first_seen_at).where(
    drift.c.server == bindparam("key_server")
)
_FORGET = delete(drift).where(
    drift.c.server == bindparam("key_server"),
    drift.c.database != all_(bindparam("key_skipped", type_=ARRAY(Text))),
)
_ADD = insert(drift).on_conflict_do_nothing()
_added = insert(reconciled)
_FINISHED = _added.on_conflict_do_update(
    index_elements=reconciled.primary_key, set_={"finished_at": _added.excluded.finished_at}
)
_COUNTS = select(
    drift.c.server, drift.c.kind, drift.c.resolved, func.count().label("total")
).group_by(drift.c.server, drift.c.kind, drift.c.resolved)
_LOOKS_LOST = (
    select(true())
    .where(
        drift.c.kind == DriftKind.LOST_STATE.value,
        ~drift.c.resolved,
        drift.c.server == any_(bindparam("key_servers", type_=ARRAY(Text))),
    )
    .limit(1)
)
_WHEN = select(reconciled.c.server, reconciled.c.finished_at)


class DriftRecords:
    """A ``DriftRecords`` of the ports. Each method is what one replica does at a time.

    Args:
        execute: Runs a statement on its own.
        transaction: Opens a transaction, whose statements are run by what it gives.
    """

    def __init__(
        self, execute: Execute, transaction: Callable[[], AbstractAsyncContextManager[Execute]]
    ) -> None:
        self._execute = execute
        self._transaction = transaction

    async def first_seen(self, server: str) -> Mapping[tuple[DriftKind, str], datetime]:
        """Return since when each thing is known to be wrong, by kind and subject."""
        found = await self._execute(_FIRST_SEEN, {"key_server": server})
        return {(DriftKind(row.kind), row.subject): row.first_seen_at for row in found}

    async def replace(
        self, server: str, found: Sequence[Drift], now: datetime, *, skipped: Collection[str]
    ) -> None:
        """Record what one look at a server has found, in place of what the one before did.

        Args:
            server: Its name.
            found: What is wrong; several details of one kind and subject become one.
            now: The time of the look.
            skipped: Databases that were not looked at: what is known of them stays, and since when.
        """
        since = await self.first_seen(server)
        values: dict[tuple[DriftKind, str], dict[str, Any]] = {}
        for one in found:
            key = (one.deviation.kind, one.deviation.subject)
            value = values.setdefault(
                key,
                {
                    "server": server,
                    "kind": one.deviation.kind.value,
                    "subject": one.deviation.subject,
                    "database": one.database,
                    "platform": one.platform,
                    "instance_id": one.instance_id,
                    "detail": "",
                    "resolved": True,
                    "first_seen_at": since.get(key, now),
                },
            )
            value["detail"] = f"{value['detail']} {one.deviation.detail}".strip()
            value["resolved"] = value["resolved"] and one.resolved
        # At once: while the state looks lost, nobody may find for a moment that it does not.
        async with self._transaction() as execute:
            await execute(_FORGET, {"key_server": server, "key_skipped": list(skipped)})
            if values:
                await execute(_ADD, list(values.values()))
            await execute(_FINISHED, {"server": server, "finished_at": now})

    async def counts(self) -> dict[tuple[str, DriftKind, bool], int]:
        """Count what was found, by server, kind, and whether it has been resolved."""
        return {
            (row.server, DriftKind(row.kind), row.resolved): row.total
            for row in await self._execute(_COUNTS)
        }

    async def looks_lost(self, servers: Sequence[str]) -> bool:
        """Tell whether the last look at one of these servers says that the state is lost."""
        found = await self._execute(_LOOKS_LOST, {"key_servers": list(servers)})
        return found.first() is not None

    async def looked_at(self) -> dict[str, datetime]:
        """Return when each server was last looked at to the end."""
        return {row.server: row.finished_at for row in await self._execute(_WHEN)}
