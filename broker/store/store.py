"""The state database as a whole: connecting, checking, reading, and opening transactions."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg

from broker.domain.errors import BrokerError, StateUnavailable
from broker.store import rows
from broker.store import statements as sql
from broker.store.admin_passwords import AdminPasswords
from broker.store.census import Census
from broker.store.connect import PATIENCE
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
from broker.store.sessions import Sessions
from broker.store.storage import StorageRecords
from broker.store.transaction import PostgresTransaction
from broker.store.warm import WarmRecords

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import timedelta
    from uuid import UUID

    from sqlalchemy.sql.elements import ClauseElement

    from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey, Status
    from broker.domain.operation import Operation
    from broker.domain.placement import Occupancy
    from broker.store.encryption import KeyRing
    from broker.store.execution import Execute, Found, Row
    from broker.store.sessions import Session

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
        self._sessions = Sessions(dsn, size=pool_size, patience=patience, autocommit=False)
        # Without BEGIN and COMMIT a single statement is one round trip, not three. They are apart
        # so that a transaction that waits for one never waits for others like itself.
        self._single = Sessions(dsn, size=pool_size, patience=patience, autocommit=True)
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
        self.drift = DriftRecords(self._execute, self._executing)
        self.expired = ExpiredBindings(self._execute)
        self.keys = KeyRecords(self._execute, self._executing, keys)

    async def close(self) -> None:
        """Close all connections."""
        await self._sessions.close()
        await self._single.close()

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
        wrong = await self.keys.wrong()
        if wrong:
            raise EncryptionKeyWrong(wrong)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[PostgresTransaction]:
        """Open a transaction; leaving it without an exception commits, otherwise it rolls back.

        Raises:
            StateUnavailable: The state database cannot be reached.
        """
        async with self._lent(self._sessions) as session:
            state = PostgresTransaction(session, self._keys, self._recent)
            try:
                yield state
            except Exception:
                # The session is given back as good as new; if not, it is closed.
                with suppress(psycopg.Error):
                    await session.connection.rollback()
                raise
            try:
                with translated():
                    await session.connection.commit()
            except StateUnavailable as exc:
                if not await self._committed_nevertheless(state, exc):
                    raise

    @asynccontextmanager
    async def _executing(self) -> AsyncIterator[Execute]:
        """Open a transaction for whoever brings statements of its own."""
        async with self.transaction() as state:
            yield state.execute

    async def _committed_nevertheless(
        self, state: PostgresTransaction, reason: StateUnavailable
    ) -> bool:
        """Find out how a transaction ended when the answer to COMMIT was lost.

        Raises:
            StateUnavailable: Nobody can tell.
        """
        trace = state.trace
        if trace is None:
            raise StateUnavailable(UNKNOWN_FATE) from reason
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                while True:
                    row = await self._row(sql.READ_FATE, {"transaction": trace.transaction})
                    fate = None if row is None else row[0]
                    if fate != "in progress":
                        break
                    await asyncio.sleep(_FATE_POLL)
                left = await self._row(trace.left, {"key_id": trace.operation})
        except (TimeoutError, BrokerError) as exc:
            raise StateUnavailable(UNKNOWN_FATE) from exc
        return fate == "committed" and left is not None

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

    def recent_occupancy(self) -> Occupancy | None:
        """Return what was on all servers a moment ago, if that is known; its cordons are as old."""
        return self._recent.counted()

    async def record_new(
        self, operation: Operation, instance: Instance, *, lease: timedelta
    ) -> bool:
        """Insert an instance and its operation, in progress, where nothing has been looked at.

        Args:
            operation: Leased to whoever holds its token.
            instance: What it makes.
            lease: How long the holder may stay silent.

        Returns:
            ``False`` when the key is taken, or the server is cordoned; then nothing has changed.

        Raises:
            ConcurrencyError: One is in progress on the same instance.
            StateUnavailable: Whether it was recorded cannot be told; the same request tells.
        """
        self._recent.add(instance)
        values = rows.recorded_values(operation) | rows.instance_values(instance)
        found = await self._execute(
            sql.RECORD_UNLESS_CORDONED, {"lease": lease, **values}, outage=UNKNOWN_FATE
        )
        # Should it have been sent twice, it is its own record that was in the way.
        return found.first() is not None or await self.holds_lease(operation)

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
        self, statement: ClauseElement, values: Mapping[str, Any] | None = None
    ) -> Row | None:
        return (await self._execute(statement, values)).one_or_none()

    async def _execute(
        self,
        statement: ClauseElement,
        values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        outage: str | None = None,
    ) -> Found:
        """Run a statement on its own; again, once, if the server had closed the connection.

        Every statement given is one that may be repeated.

        Args:
            statement: What to run.
            values: Its parameters, or several sets of them.
            outage: What to say when the connection broke, and broke again.
        """
        async with self._lent(self._single) as session:
            with translated(outage=outage):
                return await session.execute(statement, values, repeatable=True)

    @asynccontextmanager
    async def _lent(self, sessions: Sessions) -> AsyncIterator[Session]:
        """Lend a session; what is raised within passes as it is."""
        async with AsyncExitStack() as lent:
            with translated():
                session = await lent.enter_async_context(sessions.lent())
            yield session
