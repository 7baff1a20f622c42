"""The warm stock in the state database.

Belongs here: its statements, and what runs them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import any_, bindparam, delete, exists, func, insert, select, true, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from broker.domain.warm import Location, WarmDatabase, WarmState
from broker.store.tables import server_cordons, warm_databases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement

    from broker.store.servers import Execute

_MADE = ("database", "server", "service_id", "plan_id", "fingerprint", "tag")

_this = warm_databases.c.database == bindparam("key_database")


def _in(*states: WarmState) -> ColumnElement[bool]:
    return warm_databases.c.state.in_([state.value for state in states])


_age = func.clock_timestamp() - warm_databases.c.created_at
_LISTED = select(
    *(warm_databases.c[name] for name in _MADE), warm_databases.c.state, _age.label("age")
).order_by(warm_databases.c.created_at, warm_databases.c.database)
_ADD = insert(warm_databases).values(
    {name: bindparam(name, type_=Text) for name in _MADE}
    | {"state": WarmState.MAKING.value, "created_at": func.clock_timestamp()}
)
# One for each: whoever comes at the same time takes the next.
_suitable = (
    select(warm_databases.c.database)
    .where(
        warm_databases.c.fingerprint == bindparam("key_fingerprint"),
        warm_databases.c.server == any_(bindparam("key_servers", type_=ARRAY(Text))),
        _in(WarmState.READY),
        ~exists().where(server_cordons.c.server == warm_databases.c.server),
    )
    .order_by(warm_databases.c.created_at)
    .limit(1)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
_CLAIM = (
    delete(warm_databases)
    .where(warm_databases.c.database == _suitable)
    .returning(warm_databases.c.server, warm_databases.c.database)
)
_BEING_MADE = select(true()).where(_this, _in(WarmState.MAKING))
_READY = (
    update(warm_databases)
    .where(_this, _in(WarmState.MAKING))
    .values(state=WarmState.READY.value)
    .returning(true())
)
_RELEASE = (
    update(warm_databases)
    .where(_this, warm_databases.c.state == bindparam("key_state"))
    .values(state=WarmState.RELEASING.value)
    .returning(true())
)
_LEAVE = (
    update(warm_databases)
    .where(_this, _in(WarmState.MAKING, WarmState.RELEASING))
    .values(state=WarmState.RELEASING.value)
    .returning(true())
)
_FORGET = delete(warm_databases).where(_this, _in(WarmState.RELEASING))


class WarmRecords:
    """The records of the stock; every method is one statement.

    Args:
        execute: Runs a statement, on its own or in a transaction.
    """

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    async def listed(self) -> list[WarmDatabase]:
        """Read the whole stock, the oldest first."""
        found = await self._execute(_LISTED)
        return [
            WarmDatabase(**{**row, "state": WarmState(row["state"])}) for row in found.mappings()
        ]

    async def claim(self, fingerprint: str, servers: Sequence[str]) -> Location | None:
        """Take a ready database out of the stock; ``None`` when there is none.

        Args:
            fingerprint: What it must have been made like.
            servers: Where it may be; those that are cordoned do not count.
        """
        values = {"key_fingerprint": fingerprint, "key_servers": list(servers)}
        row = (await self._execute(_CLAIM, values)).one_or_none()
        return None if row is None else Location(row.server, row.database)

    async def add(self, warm: WarmDatabase) -> None:
        """Record a database that is about to be made."""
        await self._execute(_ADD, {name: getattr(warm, name) for name in _MADE})

    async def is_being_made(self, database: str) -> bool:
        """Tell whether a database is still to be made."""
        return await self._did(_BEING_MADE, database)

    async def ready(self, database: str) -> bool:
        """Record that a database is ready; ``False`` when it was given up in the meantime."""
        return await self._did(_READY, database)

    async def release(self, warm: WarmDatabase) -> bool:
        """Take a database out of the stock, to be dropped; ``False`` when it has changed."""
        return await self._did(_RELEASE, warm.database, key_state=warm.state.value)

    async def give_up(self, database: str) -> bool:
        """Make sure that a database is only to be dropped; ``False`` when it is not, or is gone."""
        return await self._did(_LEAVE, database)

    async def forget(self, database: str) -> None:
        """Forget a database that was dropped."""
        await self._execute(_FORGET, {"key_database": database})

    async def _did(self, statement: Any, database: str, **values: str) -> bool:
        found = await self._execute(statement, {"key_database": database, **values})
        return found.one_or_none() is not None
