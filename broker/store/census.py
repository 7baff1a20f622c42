"""Reading all there is, in portions, without locking it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Text, bindparam, exists, func, select, true

from broker.domain.inventory import InstanceCount
from broker.store import rows
from broker.store import statements as sql
from broker.store.tables import bindings, instances

if TYPE_CHECKING:
    from broker.domain.instance import Binding, Instance, InstanceKey
    from broker.store.encryption import KeyRing
    from broker.store.execution import Execute

# In the order of the unique index over server and database.
_PAGE = (
    select(instances)
    .where(
        instances.c.server == bindparam("key_server"),
        instances.c.database > bindparam("after"),
    )
    .order_by(instances.c.database)
    .limit(bindparam("limit"))
)

_COUNTS = select(
    instances.c.platform,
    instances.c.service_id,
    instances.c.plan_id,
    func.count().label("total"),
).group_by(instances.c.platform, instances.c.service_id, instances.c.plan_id)
_ON_SERVERS = select(instances.c.server, func.count().label("total")).group_by(instances.c.server)
_HOLDS = select(true()).where(instances.c.database == bindparam("key_database"))
_its_bindings = (bindings.c.platform == instances.c.platform) & (
    bindings.c.instance_id == instances.c.instance_id
)
_name = bindparam("name", type_=Text)
_FOUND = (
    select(instances, select(func.count()).where(_its_bindings).scalar_subquery().label("bindings"))
    .where(
        _name.is_(None)
        | (instances.c.database == _name)
        | (instances.c.owner == _name)
        | exists().where(_its_bindings, bindings.c.login == _name)
    )
    .order_by(instances.c.platform, instances.c.instance_id)
)
_INSTANCE_OF = select(instances).where(
    instances.c.server == bindparam("key_server"),
    instances.c.database == bindparam("key_database"),
)


class Census:
    """A ``Census`` of the ports.

    Args:
        execute: Runs a statement on its own.
        keys: Decrypts the secrets of bindings.
    """

    def __init__(self, execute: Execute, keys: KeyRing) -> None:
        self._execute = execute
        self._keys = keys

    async def instances(self, server: str, *, after: str, limit: int) -> list[Instance]:
        """Read the instances on a server, a page at a time, by the names of their databases.

        Args:
            server: Its configured name.
            after: The last database of the page before; empty for the first page.
            limit: The most to read.
        """
        values = {"key_server": server, "after": after, "limit": limit}
        return [rows.to_instance(row) for row in await self._execute(_PAGE, values)]

    async def bindings(self, key: InstanceKey) -> list[Binding]:
        """Read all bindings of an instance."""
        found = await self._execute(sql.READ_BINDINGS, rows.instance_key(key))
        return [rows.to_binding(row, self._keys) for row in found]

    async def counts(self) -> list[InstanceCount]:
        """Count the instances, by platform and plan."""
        return [InstanceCount(**row) for row in (await self._execute(_COUNTS)).mappings()]

    async def on_servers(self) -> dict[str, int]:
        """Count the instances on each server, by its configured name."""
        return {row.server: row.total for row in await self._execute(_ON_SERVERS)}

    async def holds(self, database: str) -> bool:
        """Tell whether an instance has a database of that name, whatever its server is called."""
        return (await self._execute(_HOLDS, {"key_database": database})).first() is not None

    async def found(self, name: str | None = None) -> list[tuple[Instance, int]]:
        """Read instances with how many bindings each has, by platform and id.

        Args:
            name: Of a database, or of a role of one: only the instance that has it.
        """
        found = await self._execute(_FOUND, {"name": name})
        return [(rows.to_instance(row), row.bindings) for row in found]

    async def instance_of(self, server: str, database: str) -> Instance | None:
        """Read the instance that has a database; ``None`` when none has it."""
        values = {"key_server": server, "key_database": database}
        row = (await self._execute(_INSTANCE_OF, values)).one_or_none()
        return None if row is None else rows.to_instance(row)

    async def busy(self, key: InstanceKey) -> bool:
        """Tell whether something is in progress on an instance or on one of its bindings.

        That is an operation, or the handing over of a database of the warm stock.
        """
        return (await self._execute(sql.BUSY, rows.instance_key(key))).first() is not None
