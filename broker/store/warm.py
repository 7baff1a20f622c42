"""The warm stock in the state database.

Belongs here: its statements, and what runs them.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from psycopg import IntegrityError
from sqlalchemy import (
    any_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Text

from broker.domain.errors import StateUnavailable
from broker.domain.names import owner_name
from broker.domain.warm import Location, WarmDatabase, WarmState
from broker.store import rows
from broker.store.errors import BUSY, UNKNOWN_FATE
from broker.store.statements import RECORDED, WHOLE_INSTANCE_KEY, while_added
from broker.store.tables import instances, operations, server_cordons, warm_databases

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement

    from broker.domain.instance import Instance
    from broker.domain.operation import Operation
    from broker.store.execution import Execute

_MADE = ("database", "server", "service_id", "plan_id", "fingerprint", "tag")

_this = warm_databases.c.database == bindparam("key_database")


def _in(*states: WarmState) -> ColumnElement[bool]:
    return or_(*(warm_databases.c.state == state.value for state in states))


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
# Taken, recorded as the instance's, and answered: in one statement, and so in one transaction.
_taken = (
    update(warm_databases)
    .where(warm_databases.c.database == _suitable, ~exists().where(WHOLE_INSTANCE_KEY))
    .values(state=literal(WarmState.CLAIMED.value, Text))
    .returning(warm_databases.c.server, warm_databases.c.database)
    .cte("taken")
)
# Named apart from the columns of the stock: a name of both would be written to both.
_instance = {
    column.key: bindparam(f"instance_{column.key}", type_=column.type) for column in instances.c
} | {
    "server": _taken.c.server,
    "database": _taken.c.database,
    "owner": _taken.c.database + bindparam("owner_suffix", type_=Text),
}
_recorded_instance = (
    insert(instances)
    .from_select(
        [*_instance],
        select(*_instance.values()).where(
            while_added(_instance["platform"], _instance["instance_id"])
        ),
    )
    .returning(true())
    .cte("recorded_instance")
)
_operation = RECORDED | {"finished_at": func.clock_timestamp()}
_recorded_operation = (
    insert(operations)
    .from_select([*_operation], select(*_operation.values()).select_from(_recorded_instance))
    .cte("recorded_operation")
)
_HAND_OVER = select(_taken.c.server, _taken.c.database).add_cte(_recorded_operation)
_IS_CLAIMED = select(true()).where(_this, _in(WarmState.CLAIMED))
_ADOPTED = delete(warm_databases).where(_this, _in(WarmState.CLAIMED))
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

        Raises:
            StateUnavailable: It is unknown whether it was recorded; the same request tells.
        """
        values = (
            rows.instance_key(instance.key)
            | {f"instance_{name}": value for name, value in rows.instance_values(instance).items()}
            | rows.recorded_values(operation)
            | {"key_fingerprint": fingerprint, "key_servers": list(servers)}
            | {"owner_suffix": owner_name(""), "lease": timedelta()}
        )
        try:
            row = (await self._execute(_HAND_OVER, values)).one_or_none()
        except IntegrityError:
            return None  # Another request with the same id was quicker, and has all of it undone.
        except StateUnavailable as exc:
            if exc.description == BUSY:
                raise
            # There is no transaction whose fate could be asked for.
            raise StateUnavailable(UNKNOWN_FATE) from exc
        return None if row is None else Location(row.server, row.database)

    async def is_claimed(self, database: str) -> bool:
        """Tell whether a database was handed over and does not say so yet."""
        return await self._did(_IS_CLAIMED, database)

    async def adopted(self, database: str) -> None:
        """Forget a database that says whose it is."""
        await self._execute(_ADOPTED, {"key_database": database})

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
