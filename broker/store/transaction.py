"""One transaction on the state: every statement that writes, and the reads that lock.

Belongs here: SQL, one short method each. The first statement of a transaction is repeated once on
a new connection when the server had closed the old one in the meantime; later ones are not, for
the transaction they belong to is gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import Interval, delete, func, insert, literal, select, true, update
from sqlalchemy.dialects.postgresql import insert as insert_or_not
from sqlalchemy.exc import DBAPIError

from broker.domain.operation import OperationState
from broker.store import rows
from broker.store.errors import translated
from broker.store.tables import bindings, instances, operations

if TYPE_CHECKING:
    from datetime import timedelta
    from uuid import UUID

    from sqlalchemy import ColumnElement, CursorResult, Executable, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey
    from broker.domain.operation import Operation
    from broker.store.encryption import KeyRing

_IN_PROGRESS = operations.c.state == OperationState.IN_PROGRESS.value


def matching(table: Table, key: dict[str, str]) -> ColumnElement[bool]:
    """Return the condition that these columns of a table have these values."""
    first, *rest = (table.c[name] == value for name, value in key.items())
    condition: ColumnElement[bool] = first
    for term in rest:
        condition &= term
    return condition


def concerning(key: InstanceKey, binding_id: str | None) -> ColumnElement[bool]:
    """Return the condition for operations on the instance itself, or on that binding of it."""
    # `==` with None would become IS NULL as well; said outright, it is no accident.
    binding = operations.c.binding_id
    about = binding.is_(None) if binding_id is None else binding == binding_id
    return matching(operations, rows.instance_key(key)) & about


def lease_end(lease: timedelta) -> ColumnElement[Any]:
    """Return when a lease that starts now ends, by the database's clock."""
    return func.clock_timestamp() + literal(lease, Interval)


class PostgresTransaction:
    """A ``StateTransaction`` on one connection.

    Args:
        connection: Not in a transaction yet.
        keys: Encrypts and decrypts the secrets of bindings.
    """

    def __init__(self, connection: AsyncConnection, keys: KeyRing) -> None:
        self._connection = connection
        self._keys = keys
        self._begun = False

    async def execute(self, statement: Executable) -> CursorResult[Any]:
        """Run a statement.

        Raises:
            StateUnavailable: The state database cannot be reached, or is too busy.
            ConcurrencyError: An operation is in progress on the same instance or binding.
            InvalidRequest: A value cannot be stored.
        """
        with translated():
            try:
                return await self._connection.execute(statement)
            except DBAPIError as exc:
                if self._begun or not exc.connection_invalidated:
                    raise
                await self._connection.rollback()
                return await self._connection.execute(statement)
            finally:
                self._begun = True

    async def instance(self, key: InstanceKey) -> Instance | None:
        """Read an instance and lock it until the transaction ends."""
        where = matching(instances, rows.instance_key(key))
        found = await self.execute(select(instances).where(where).with_for_update())
        row = found.one_or_none()
        return None if row is None else rows.to_instance(row)

    async def binding(self, key: BindingKey) -> Binding | None:
        """Read a binding and lock it until the transaction ends."""
        where = matching(bindings, rows.binding_key(key))
        found = await self.execute(select(bindings).where(where).with_for_update())
        row = found.one_or_none()
        return None if row is None else rows.to_binding(row, self._keys)

    async def bindings(self, key: InstanceKey) -> list[Binding]:
        """Read all bindings of an instance, oldest first."""
        where = matching(bindings, rows.instance_key(key))
        order = (bindings.c.created_at, bindings.c.binding_id)
        found = await self.execute(select(bindings).where(where).order_by(*order))
        return [rows.to_binding(row, self._keys) for row in found]

    async def active_operation(
        self, key: InstanceKey, binding_id: str | None = None
    ) -> Operation | None:
        """Return the operation in progress on the instance itself, or on that binding of it."""
        return await self._operation(concerning(key, binding_id) & _IN_PROGRESS)

    async def active_binding_operation(self, key: InstanceKey) -> Operation | None:
        """Return the oldest operation in progress on a binding of the instance."""
        on_instance = matching(operations, rows.instance_key(key))
        return await self._operation(
            on_instance & operations.c.binding_id.is_not(None) & _IN_PROGRESS
        )

    async def _operation(self, where: ColumnElement[bool]) -> Operation | None:
        query = select(operations).where(where).order_by(operations.c.sequence).limit(1)
        row = (await self.execute(query)).one_or_none()
        return None if row is None else rows.to_operation(row)

    async def databases_per_server(self) -> dict[str, int]:
        """Count the instances on each server."""
        total = func.count().label("total")
        found = await self.execute(select(instances.c.server, total).group_by(instances.c.server))
        return {row.server: row.total for row in found}

    async def add_instance(self, instance: Instance) -> bool:
        """Insert an instance; ``False`` when the key is taken by then."""
        values = rows.instance_values(instance) | {"tag_key_id": self._keys.tag_id}
        return await self._added(instances, values)

    async def add_binding(self, binding: Binding) -> bool:
        """Insert a binding; ``False`` when the key is taken by then.

        Raises:
            NotFound: There is no such instance.
        """
        return await self._added(bindings, rows.binding_values(binding, self._keys))

    async def _added(self, table: Table, values: dict[str, Any]) -> bool:
        # On the primary key only: a collision of random names is a defect, not a replay.
        statement = insert_or_not(table).values(values)
        statement = statement.on_conflict_do_nothing(index_elements=table.primary_key)
        return (await self.execute(statement.returning(true()))).one_or_none() is not None

    async def save_instance(self, instance: Instance) -> None:
        """Overwrite an instance."""
        where = matching(instances, rows.instance_key(instance.key))
        await self.execute(update(instances).where(where).values(rows.instance_values(instance)))

    async def save_binding(self, binding: Binding) -> None:
        """Overwrite a binding; its secret is encrypted anew."""
        where = matching(bindings, rows.binding_key(binding.key))
        values = rows.binding_values(binding, self._keys)
        await self.execute(update(bindings).where(where).values(values))

    async def remove_instance(self, key: InstanceKey) -> None:
        """Delete an instance with all its bindings."""
        where = matching(instances, rows.instance_key(key))
        await self.execute(delete(instances).where(where))

    async def remove_binding(self, key: BindingKey) -> None:
        """Delete a binding, its encrypted secret with it."""
        where = matching(bindings, rows.binding_key(key))
        await self.execute(delete(bindings).where(where))

    async def add_operation(self, operation: Operation, *, lease: timedelta) -> None:
        """Insert an operation in progress, leased to whoever holds its token.

        Raises:
            ConcurrencyError: One is in progress on the same instance or binding.
        """
        values = rows.operation_values(operation) | {"lease_until": lease_end(lease)}
        await self.execute(insert(operations).values(values))

    async def take_over(
        self, operation: Operation, *, token: UUID, lease: timedelta
    ) -> Operation | None:
        """Lease an operation whose lease has run out; ``None`` when it has not, or is over."""
        abandoned = operations.c.lease_until < func.clock_timestamp()
        statement = (
            update(operations)
            .where(operations.c.id == operation.id, _IN_PROGRESS, abandoned)
            .values(lease_token=token, lease_until=lease_end(lease))
            .returning(operations)
        )
        row = (await self.execute(statement)).one_or_none()
        return None if row is None else rows.to_operation(row)

    async def finish_operation(self, operation: Operation) -> bool:
        """Record the end of an operation; ``False`` when its lease token is not ours any more."""
        statement = (
            update(operations)
            .where(held(operation))
            .values(finished_at=func.clock_timestamp(), **rows.outcome_values(operation))
        )
        return (await self.execute(statement)).rowcount == 1


def held(operation: Operation) -> ColumnElement[bool]:
    """Return the condition that an operation is in progress and still leased by this token."""
    return (
        (operations.c.id == operation.id)
        & (operations.c.lease_token == operation.lease_token)
        & _IN_PROGRESS
    )
