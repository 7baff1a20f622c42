"""One transaction on the state: what reads and locks, and everything that writes.

The first statement of a transaction is repeated once on a new connection when the server had
closed the old one in the meantime; later ones are not, for the transaction they belong to is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from broker.domain.instance import Binding, Instance, Status
from broker.store import rows, servers
from broker.store import statements as sql
from broker.store.deleted import DeletedInstancesTransaction
from broker.store.errors import translated
from broker.store.warm import WarmRecords

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta
    from uuid import UUID

    from sqlalchemy.sql.elements import ClauseElement

    from broker.domain.instance import BindingKey, InstanceKey
    from broker.domain.operation import Operation
    from broker.domain.placement import Occupancy
    from broker.store.encryption import KeyRing
    from broker.store.execution import Found, Row
    from broker.store.recent import RecentOccupancy
    from broker.store.sessions import Session


@dataclass(frozen=True, slots=True)
class Trace:
    """How to find out whether a transaction was committed.

    Attributes:
        transaction: PostgreSQL's id of it; of another one, if a crash has undone this one.
        left: Finds a row if it was committed.
        operation: The id of the operation that this is about.
    """

    transaction: str
    left: ClauseElement
    operation: UUID


class PostgresTransaction:
    """A ``StateTransaction`` in one session.

    Args:
        session: Not in a transaction yet; begins one with its first statement.
        keys: Encrypts and decrypts the secrets of bindings.
        recent: What servers held a moment ago.

    Attributes:
        trace: What it leaves when it is committed, once it has recorded or finished an operation.
        deleted: The deleted instances whose data is kept.
        warm: The records of the warm stock.
    """

    trace: Trace | None = None

    def __init__(self, session: Session, keys: KeyRing, recent: RecentOccupancy) -> None:
        self._session = session
        self._recent = recent
        self._keys = keys
        self._begun = False
        self.deleted = DeletedInstancesTransaction(self.execute)
        self.warm = WarmRecords(self.execute)

    async def instance(self, key: InstanceKey) -> Instance | None:
        """Read an instance and lock it until the transaction ends."""
        row = await self._row(sql.LOCK_INSTANCE, rows.instance_key(key))
        return None if row is None else rows.to_instance(row)

    async def instance_being_added(self, key: InstanceKey) -> Instance | None:
        """Wait for transactions that add an instance, then read and lock it."""
        await self.execute(sql.AWAIT_INSTANCE, rows.instance_key(key))
        return await self.instance(key)

    async def binding(self, key: BindingKey) -> Binding | None:
        """Read a binding and lock it until the transaction ends."""
        row = await self._row(sql.LOCK_BINDING, rows.binding_key(key))
        return None if row is None else rows.to_binding(row, self._keys)

    async def bindings(self, key: InstanceKey) -> list[Binding]:
        """Read all bindings of an instance, oldest first."""
        found = await self.execute(sql.READ_BINDINGS, rows.instance_key(key))
        return [rows.to_binding(row, self._keys) for row in found]

    async def active_operations(self, key: InstanceKey) -> list[Operation]:
        """Read what is in progress on the instance and on its bindings, the oldest first."""
        found = await self.execute(sql.ACTIVE, rows.instance_key(key))
        return [rows.to_operation(row) for row in found]

    async def occupancy(self, *, exclusively: bool) -> Occupancy:
        """Count what is on each server, and read which servers are cordoned.

        Args:
            exclusively: Let no other transaction count exclusively until this one ends; otherwise
                what others added a moment ago may be missing from the count.
        """
        recent = None if exclusively else self._recent.counted()
        if exclusively:
            # A statement of its own: the count must see what was committed while this one waited.
            await self.execute(servers.LOCK_PLACEMENT)
        if recent is not None:
            now = servers.occupancy(await self.execute(servers.CORDONED))
            return replace(recent, cordoned=now.cordoned)
        counted = servers.occupancy(await self.execute(servers.OCCUPANCY))
        self._recent.remember(counted)
        return counted

    async def add_instance(self, instance: Instance) -> bool:
        """Insert an instance; ``False`` when the key is taken by then."""
        self._recent.add(instance)
        return await self._row(sql.ADD_INSTANCE, rows.instance_values(instance)) is not None

    async def add_binding(self, binding: Binding) -> bool:
        """Insert a binding; ``False`` when the key is taken by then.

        Raises:
            NotFound: There is no such instance.
        """
        values = rows.binding_values(binding, self._keys)
        return await self._row(sql.ADD_BINDING, values) is not None

    async def save_instance(self, instance: Instance) -> None:
        """Overwrite an instance."""
        key = rows.instance_key(instance.key)
        await self.execute(sql.SAVE_INSTANCE, key | rows.instance_values(instance))

    async def set_instance_status(self, key: InstanceKey, status: Status) -> None:
        """Change nothing of an instance but its status."""
        values = rows.instance_key(key) | {"status": status.value}
        await self.execute(sql.SET_INSTANCE_STATUS, values)

    async def set_tag_key(self, key: InstanceKey, key_id: str) -> None:
        """Record the key that an instance's tags are made with from now on."""
        await self.execute(sql.SET_TAG_KEY, rows.instance_key(key) | {"tag_key_id": key_id})

    async def set_binding_status(self, key: BindingKey, status: Status) -> None:
        """Change nothing of a binding but its status."""
        values = rows.binding_key(key) | {"status": status.value}
        await self.execute(sql.SET_BINDING_STATUS, values)

    async def set_binding_secret(self, binding: Binding) -> None:
        """Change nothing of a binding but its password."""
        values = rows.binding_key(binding.key) | rows.secret_values(binding, self._keys)
        await self.execute(sql.SET_BINDING_SECRET, values)

    async def remove_instance(self, key: InstanceKey) -> None:
        """Delete an instance with all its bindings."""
        await self.execute(sql.REMOVE_INSTANCE, rows.instance_key(key))

    async def add_operation(self, operation: Operation, *, lease: timedelta) -> None:
        """Insert an operation in progress, leased to whoever holds its token.

        Raises:
            ConcurrencyError: One is in progress on the same instance or binding.
        """
        values = {"lease": lease, **rows.recorded_values(operation)}
        await self._trace(operation, sql.ADD_OPERATION, values)

    async def record(
        self, operation: Operation, subject: Instance | Binding | Status, *, lease: timedelta
    ) -> bool:
        """Insert an operation in progress together with what it makes, or what becomes of it.

        Args:
            operation: Leased to whoever holds its token.
            subject: The instance or binding to insert, or the status that the operation's instance
                or binding has while it is in progress.
            lease: How long the holder may stay silent.

        Returns:
            ``False`` when the key of the instance or binding is taken by then.

        Raises:
            ConcurrencyError: One is in progress on the same instance or binding.
            NotFound: There is no instance for this binding.
        """
        values = {"lease": lease, **rows.recorded_values(operation)}
        match subject:
            case Instance():
                self._recent.add(subject)
                statement = sql.RECORD_WITH_INSTANCE
                values |= rows.instance_values(subject)
            case Binding():
                statement = sql.RECORD_WITH_BINDING
                values |= rows.binding_values(subject, self._keys)
            case Status():
                on_binding = operation.binding_id is not None
                statement = sql.RECORD_ON_BINDING if on_binding else sql.RECORD_ON_INSTANCE
                values |= rows.subject_key(operation.instance, operation.binding_id)
                values["status"] = subject.value
        return await self._trace(operation, statement, values)

    async def take_over(
        self, operation: Operation, *, token: UUID, lease: timedelta
    ) -> Operation | None:
        """Lease an operation whose lease has run out; ``None`` when it has not, or is over."""
        values = {"key_id": operation.id, "lease_token": token, "lease": lease}
        row = await self._row(sql.TAKE_OVER, values)
        return None if row is None else rows.to_operation(row)

    async def finish_operation(self, operation: Operation) -> bool:
        """Record the end of an operation; ``False`` when its lease token is not ours any more."""
        values = rows.holder_key(operation) | rows.outcome_values(operation)
        return await self._trace(operation, sql.FINISH_OPERATION, values, left=sql.IS_OVER)

    async def halt_operation(self, operation: Operation) -> bool:
        """Record the end of an operation, whoever runs it; ``False`` when it is over."""
        values = {"key_id": operation.id, **rows.outcome_values(operation)}
        return await self._trace(operation, sql.HALT_OPERATION, values, left=sql.IS_OVER)

    async def _trace(
        self,
        operation: Operation,
        statement: ClauseElement,
        values: Mapping[str, Any],
        *,
        left: ClauseElement = sql.IS_RECORDED,
    ) -> bool:
        row = await self._row(statement, values)
        if row is not None:
            self.trace = Trace(row[0], left, operation.id)
        return row is not None

    async def _row(self, statement: ClauseElement, values: Mapping[str, Any]) -> Row | None:
        return (await self.execute(statement, values)).one_or_none()

    async def execute(
        self,
        statement: ClauseElement,
        values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> Found:
        """Run a statement of the store's.

        Raises:
            StateUnavailable: The state database cannot be reached, or is too busy.
            ConcurrencyError: An operation is in progress on the same instance or binding.
            InvalidRequest: A value cannot be stored.
        """
        repeatable, self._begun = not self._begun, True
        with translated():
            return await self._session.execute(statement, values, repeatable=repeatable)
