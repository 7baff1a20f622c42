"""The state database as a whole: connecting, checking, reading, and opening transactions."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError

from broker.domain.errors import BrokerError, StateUnavailable
from broker.store import rows
from broker.store import statements as sql
from broker.store.admin_passwords import AdminPasswords
from broker.store.census import Census
from broker.store.connect import PATIENCE, create_engine
from broker.store.deleted import DeletedInstances
from broker.store.drift import DriftRecords
from broker.store.errors import (
    UNKNOWN_FATE,
    EncryptionKeyMissing,
    EncryptionKeyWrong,
    schema_differs,
    translated,
)
from broker.store.expiry import ExpiredBindings
from broker.store.figures import FigureRecords
from broker.store.keys import USED_KEYS, KeyRecords
from broker.store.migrate import head
from broker.store.recent import RecentOccupancy
from broker.store.servers import ServerRecords
from broker.store.storage import StorageRecords
from broker.store.transaction import PostgresTransaction
from broker.store.warm import WarmRecords

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import timedelta
    from uuid import UUID

    from sqlalchemy import CursorResult, Executable, Row

    from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey, Status
    from broker.domain.operation import Operation
    from broker.store.encryption import KeyRing

_FATE_POLL = 0.05


class PostgresStore:
    """A ``Store`` in PostgreSQL; nothing is connected before it is first used.

    Args:
        dsn: The state database, as a libpq connection string or URI.
        keys: Encrypts and decrypts the secrets of bindings.
        pool_size: The most connections at a time, for transactions and for single statements each.
        patience: How long to wait for a connection, for a free one of the pool, and for a lock.

    Attributes:
        servers: What is known about servers.
        admin_passwords: What the broker's own passwords on them were changed to.
        deleted: The deleted instances whose data is kept.
        storage: What databases occupy.
        warm: The records of the warm stock.
        census: Reads all there is.
        figures: Counts what there is.
        drift: What the last look at each server has found.
        expired: The bindings whose credentials have ended.
        keys: What the encryption keys are used for.
    """

    def __init__(
        self, dsn: str, keys: KeyRing, *, pool_size: int = 6, patience: timedelta = PATIENCE
    ) -> None:
        self._engine = create_engine(dsn, pool_size=pool_size, patience=patience)
        # Without BEGIN and COMMIT a single statement is one round trip, not three.
        self._single = create_engine(
            dsn, pool_size=pool_size, patience=patience, isolation_level="AUTOCOMMIT"
        )
        self._keys = keys
        self._patience = patience
        self.servers = ServerRecords(self._execute)
        self.admin_passwords = AdminPasswords(self._execute, keys)
        self._recent = RecentOccupancy()
        self.deleted = DeletedInstances(self._execute)
        self.storage = StorageRecords(self._execute)
        self.warm = WarmRecords(self._execute)
        self.census = Census(self._execute, keys)
        self.figures = FigureRecords(self._execute)
        self.drift = DriftRecords(self._execute)
        self.expired = ExpiredBindings(self._execute)
        self.keys = KeyRecords(self._engine, keys)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()
        await self._single.dispose()

    async def check(self) -> None:
        """Make sure that the state database can be used, in one round trip.

        Raises:
            StateUnavailable: It cannot be reached, or its schema is not the code's.
        """
        row = await self._row(sql.READ_REVISION)
        found = None if row is None else row.version_num
        if found != head():
            raise schema_differs(found, head())

    async def verify_keys(self) -> None:
        """Make sure that every stored secret can be decrypted; to be called before serving.

        The first call with a new key remembers a proof of it, so that another key under the same
        id is noticed.

        Raises:
            EncryptionKeyMissing: Rows reference keys that are not in the ring.
            EncryptionKeyWrong: A key of the ring is not the one used before under its id.
            StateUnavailable: The state database cannot be reached.
        """
        ours = self._keys.ids
        missing = {key_id for (key_id,) in await self._execute(USED_KEYS)} - set(ours)
        if missing:
            raise EncryptionKeyMissing(sorted(missing))
        proofs = [{"id": key_id, "proof": self._keys.proof(key_id)} for key_id in ours]
        await self._execute(sql.ADD_PROOFS, proofs)
        stored = [row for row in await self._execute(sql.READ_PROOFS) if row.id in ours]
        wrong = [row.id for row in stored if not self._keys.proves(row.id, row.proof)]
        if wrong:
            raise EncryptionKeyWrong(sorted(wrong))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        """Open a transaction; leaving it without an exception commits, otherwise it rolls back.

        Raises:
            StateUnavailable: The state database cannot be reached.
        """
        with translated():
            connection = await self._engine.connect()
        try:
            state = PostgresTransaction(connection, self._keys, self._recent)
            yield state
            try:
                with translated():
                    await connection.commit()
            except StateUnavailable as exc:
                if not await self._committed_nevertheless(state, exc):
                    raise
        finally:
            # Shielded: a caller that was cancelled must not take a connection of the pool along.
            await asyncio.shield(connection.close())

    async def _committed_nevertheless(
        self, state: PostgresTransaction, reason: StateUnavailable
    ) -> bool:
        """Find out how a transaction ended when the answer to COMMIT was lost.

        Raises:
            StateUnavailable: Nobody can tell.
        """
        if state.id is None:
            raise StateUnavailable(UNKNOWN_FATE) from reason
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                while True:
                    row = await self._row(sql.READ_FATE, {"transaction": state.id})
                    fate = None if row is None else row[0]
                    if fate != "in progress":
                        break
                    await asyncio.sleep(_FATE_POLL)
        except (TimeoutError, BrokerError) as exc:
            raise StateUnavailable(UNKNOWN_FATE) from exc
        return fate == "committed"

    async def instance(self, key: InstanceKey) -> Instance | None:
        """Read an instance without locking it."""
        row = await self._row(sql.READ_INSTANCE, rows.instance_key(key))
        return None if row is None else rows.to_instance(row)

    async def binding(self, key: BindingKey) -> Binding | None:
        """Read a binding without locking it."""
        row = await self._row(sql.READ_BINDING, rows.binding_key(key))
        return None if row is None else rows.to_binding(row, self._keys)

    async def operation(self, operation_id: UUID) -> Operation | None:
        """Read an operation."""
        row = await self._row(sql.READ_OPERATION, {"key_id": operation_id})
        return None if row is None else rows.to_operation(row)

    async def last_operation(
        self, key: InstanceKey, binding_id: str | None = None
    ) -> Operation | None:
        """Read the newest operation on the instance itself, or on that binding of it."""
        statement = sql.NEWEST_ON_INSTANCE if binding_id is None else sql.NEWEST_ON_BINDING
        row = await self._row(statement, rows.subject_key(key, binding_id))
        return None if row is None else rows.to_operation(row)

    async def extend_lease(self, operation: Operation, *, lease: timedelta) -> bool:
        """Keep an operation ours for longer; ``False`` when it is not ours any more."""
        values = {"lease": lease, **rows.holder_key(operation)}
        return (await self._execute(sql.EXTEND_LEASE, values)).rowcount == 1

    async def holds_lease(self, operation: Operation) -> bool:
        """Tell whether an operation is in progress and still ours; locks nothing."""
        return await self._row(sql.HELD, rows.holder_key(operation)) is not None

    async def describe(self, operation: Operation, description: str) -> None:
        """Let whoever polls an operation of ours know what it is waiting for."""
        values = {"description": description, **rows.holder_key(operation)}
        await self._execute(sql.DESCRIBE_OPERATION, values)

    async def finish(self, operation: Operation, status: Status | None) -> bool:
        """Record the end of an operation and what has become of its instance or binding.

        Args:
            operation: As it is now; its binding if it names one, else its instance, is changed.
            status: ``None`` removes it.

        Returns:
            ``False`` when the operation is not ours any more; then nothing has changed. Asked
            again because the answer got lost, it is ``False``, too: the operation's record tells.
        """
        match operation.binding_id, status:
            case None, None:
                statement = sql.FINISH_WITHOUT_INSTANCE
            case None, _:
                statement = sql.FINISH_INSTANCE
            case _, None:
                statement = sql.FINISH_WITHOUT_BINDING
            case _:
                statement = sql.FINISH_BINDING
        values = (
            rows.subject_key(operation.instance, operation.binding_id)
            | rows.holder_key(operation)
            | rows.outcome_values(operation)
            | ({} if status is None else {"status": status.value})
        )
        return await self._row(statement, values) is not None

    async def defer_missing(self, after: timedelta) -> int:
        """Write takeover jobs of operations that nobody runs and that have none; return how many.

        Args:
            after: How long the lease must have run out.
        """
        return (await self._execute(sql.DEFER_MISSING, {"after": after})).rowcount

    async def forget_operations(self, after: timedelta) -> int:
        """Delete operations that have been over for some time; return how many."""
        return (await self._execute(sql.FORGET_OPERATIONS, {"after": after})).rowcount

    async def _row(
        self, statement: Executable, values: Mapping[str, Any] | None = None
    ) -> Row[Any] | None:
        return (await self._execute(statement, values)).one_or_none()

    async def _execute(
        self,
        statement: Executable,
        values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
    ) -> CursorResult[Any]:
        """Run a statement on its own; again, once, if the server had closed the connection.

        Every statement given is one that may be repeated.
        """
        with translated():
            try:
                return await self._execute_once(statement, values)
            except DBAPIError as exc:
                if not exc.connection_invalidated:
                    raise
                return await self._execute_once(statement, values)

    async def _execute_once(
        self,
        statement: Executable,
        values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None,
    ) -> CursorResult[Any]:
        async with self._single.connect() as connection:
            return await connection.execute(statement, values)
