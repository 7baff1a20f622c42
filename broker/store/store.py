"""The state database as a whole: connecting, checking, reading, and opening transactions."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, union, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from broker.store import rows
from broker.store.connect import create_engine
from broker.store.errors import (
    EncryptionKeyMissing,
    EncryptionKeyWrong,
    schema_differs,
    translated,
)
from broker.store.migrate import head, revision
from broker.store.tables import bindings, encryption_keys, instances, operations
from broker.store.transaction import (
    PostgresTransaction,
    concerning,
    held,
    lease_end,
    matching,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import timedelta
    from uuid import UUID

    from sqlalchemy import CursorResult, Executable

    from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey
    from broker.domain.operation import Operation
    from broker.store.encryption import KeyRing


class PostgresStore:
    """A ``Store`` in PostgreSQL; nothing is connected before it is first used.

    Args:
        dsn: The state database, as a libpq connection string or URI.
        keys: Encrypts and decrypts the secrets of bindings.
        pool_size: The most connections at a time.
    """

    def __init__(self, dsn: str, keys: KeyRing, *, pool_size: int = 10) -> None:
        self._engine = create_engine(dsn, pool_size=pool_size)
        # Shares the pool. Without BEGIN and COMMIT a single statement is one round trip, not three.
        self._single = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._keys = keys

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    async def check(self) -> None:
        """Make sure that the state database can be used, in one round trip.

        Raises:
            StateUnavailable: It cannot be reached, or its schema is not the code's.
        """
        found = (await self._execute(select(revision))).scalar_one_or_none()
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
        used = union(select(bindings.c.secret_key_id), select(instances.c.tag_key_id))
        missing = {key_id for (key_id,) in await self._execute(used)} - set(self._keys.ids)
        if missing:
            raise EncryptionKeyMissing(sorted(missing))
        proofs = [{"id": key_id, "proof": self._keys.proof(key_id)} for key_id in self._keys.ids]
        await self._execute(insert(encryption_keys).values(proofs).on_conflict_do_nothing())
        stored = await self._execute(
            select(encryption_keys).where(encryption_keys.c.id.in_(self._keys.ids))
        )
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
            yield PostgresTransaction(connection, self._keys)
            with translated():
                await connection.commit()
        finally:
            await connection.close()

    async def instance(self, key: InstanceKey) -> Instance | None:
        """Read an instance without locking it."""
        where = matching(instances, rows.instance_key(key))
        row = (await self._execute(select(instances).where(where))).one_or_none()
        return None if row is None else rows.to_instance(row)

    async def binding(self, key: BindingKey) -> Binding | None:
        """Read a binding without locking it."""
        where = matching(bindings, rows.binding_key(key))
        row = (await self._execute(select(bindings).where(where))).one_or_none()
        return None if row is None else rows.to_binding(row, self._keys)

    async def operation(self, operation_id: UUID) -> Operation | None:
        """Read an operation."""
        query = select(operations).where(operations.c.id == operation_id)
        row = (await self._execute(query)).one_or_none()
        return None if row is None else rows.to_operation(row)

    async def last_operation(
        self, key: InstanceKey, binding_id: str | None = None
    ) -> Operation | None:
        """Read the newest operation on the instance itself, or on that binding of it."""
        where = concerning(key, binding_id)
        newest = operations.c.sequence.desc()
        query = select(operations).where(where).order_by(newest).limit(1)
        row = (await self._execute(query)).one_or_none()
        return None if row is None else rows.to_operation(row)

    async def extend_lease(self, operation: Operation, *, lease: timedelta) -> bool:
        """Keep an operation ours for longer; ``False`` when it is not ours any more."""
        statement = update(operations).where(held(operation)).values(lease_until=lease_end(lease))
        return (await self._execute(statement)).rowcount == 1

    async def _execute(self, statement: Executable) -> CursorResult[Any]:
        """Run a statement on its own; again, once, if the server had closed the connection.

        Every statement given is one that may be repeated.
        """
        with translated():
            try:
                return await self._execute_once(statement)
            except DBAPIError as exc:
                if not exc.connection_invalidated:
                    raise
                return await self._execute_once(statement)

    async def _execute_once(self, statement: Executable) -> CursorResult[Any]:
        async with self._single.connect() as connection:
            return await connection.execute(statement)
