"""The work by hand, recorded before and after as the broker does, under the lock of the database.

``raw.py`` is what PostgreSQL takes to make a database, whatever becomes of it when somebody dies
on the way. This is what it takes to be able to go on: around each of the same statements a record
is locked, looked at, written and finished, with a job that would go on, and the database is worked
on under an advisory lock, after a look, and after asking whether the record is still its own. As
many statements and commits as the broker's, in the same order, over psycopg; without checking,
deciding, encrypting, HTTP, or anybody who would go on.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from psycopg import AsyncConnection
from psycopg.types.json import Json

from benchmarks.raw import RawClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from uuid import UUID

    from benchmarks.place import Place

_TABLES = """
CREATE SCHEMA IF NOT EXISTS by_hand;
CREATE TABLE IF NOT EXISTS by_hand.subjects (
    id uuid PRIMARY KEY, status text NOT NULL, database text NOT NULL UNIQUE, document json NOT NULL
);
CREATE TABLE IF NOT EXISTS by_hand.operations (
    id uuid PRIMARY KEY, subject uuid NOT NULL, state text NOT NULL, token uuid NOT NULL,
    lease_until timestamptz NOT NULL, finished_at timestamptz
);
CREATE UNIQUE INDEX IF NOT EXISTS one_at_a_time ON by_hand.operations (subject)
    WHERE state = 'in progress';
CREATE TABLE IF NOT EXISTS by_hand.jobs (operation uuid PRIMARY KEY, due timestamptz NOT NULL)
"""
_LOCK_SUBJECT = "SELECT * FROM by_hand.subjects WHERE id = %s FOR UPDATE"
_ACTIVE = "SELECT * FROM by_hand.operations WHERE subject = %s AND state = 'in progress'"
_RECORD = """
WITH subject AS (
    INSERT INTO by_hand.subjects VALUES (%(subject)s, 'in progress', %(database)s, %(document)s)
    ON CONFLICT (id) DO UPDATE SET status = 'in progress' RETURNING id
), operation AS (
    INSERT INTO by_hand.operations
    SELECT %(operation)s, id, 'in progress', %(token)s, clock_timestamp() + interval '1 min'
    FROM subject RETURNING id, lease_until
)
INSERT INTO by_hand.jobs SELECT id, lease_until FROM operation
"""
_CONFIRM = (
    "SELECT true FROM by_hand.operations WHERE id = %s AND token = %s AND state = 'in progress'"
)
_FINISH = """
WITH subject AS (
    SELECT id FROM by_hand.subjects WHERE id = %(subject)s FOR UPDATE
), operation AS (
    UPDATE by_hand.operations SET state = 'succeeded', finished_at = clock_timestamp()
    WHERE id = %(operation)s AND token = %(token)s AND EXISTS (SELECT FROM subject) RETURNING id
), job AS (
    DELETE FROM by_hand.jobs WHERE operation IN (SELECT id FROM operation)
)
UPDATE by_hand.subjects SET status = 'ready'
WHERE id = %(subject)s AND EXISTS (SELECT FROM operation)
"""
_LOCK = "SELECT pg_advisory_lock(hashtextextended(%s, 0))"
_LOOK = """
SELECT d.datname, d.datallowconn, d.datconnlimit, shobj_description(d.oid, 'pg_database')
FROM pg_database AS d WHERE d.datname = %s
"""
_LOOK_AT_ROLES = """
SELECT r.rolname, r.oid, shobj_description(r.oid, 'pg_authid') FROM pg_roles AS r
WHERE r.rolname = ANY (%s)
"""
_UNLOCK = "SELECT pg_advisory_unlock_all()"


@dataclass(slots=True)
class RecordingClient:
    """Somebody who writes SQL by hand, and records it; one database at a time.

    Attributes:
        raw: Does the work.
        state: An open connection to the records, in autocommit mode.
    """

    raw: RawClient
    state: AsyncConnection
    _instance: UUID
    _binding: UUID

    @classmethod
    async def connected(cls, place: Place) -> RecordingClient:
        """Open the connections."""
        raw = await RawClient.connected(place)
        state = await AsyncConnection.connect(place.broker_dsn, autocommit=True)
        async with state.transaction():
            await state.execute("SELECT pg_advisory_xact_lock(0)")
            await state.execute(_TABLES)
        return cls(raw, state, uuid4(), uuid4())

    async def close(self) -> None:
        """Close them."""
        await self.state.close()
        await self.raw.close()

    async def provision(self) -> None:
        """Make a database that only its owner's logins can enter."""
        self._instance = uuid4()
        async with self._operation(self._instance):
            await self.raw.provision()

    async def bind(self) -> Mapping[str, str]:
        """Make a login; return a connection's parameters."""
        self._binding = uuid4()
        async with self._operation(self._binding):
            return await self.raw.bind()

    async def unbind(self) -> None:
        """Take the login away."""
        async with self._operation(self._binding):
            await self.raw.unbind()

    async def deprovision(self) -> None:
        """Take the database away."""
        async with self._operation(self._instance):
            await self.raw.deprovision()

    @asynccontextmanager
    async def _operation(self, subject: UUID) -> AsyncIterator[None]:
        state, server, name = self.state, self.raw.maintenance, str(subject)
        operation, token = uuid4(), uuid4()
        values = {
            "subject": subject,
            "operation": operation,
            "token": token,
            "database": name,
            "document": Json({"platform": "by hand"}),
        }
        async with state.transaction():
            await state.execute(_LOCK_SUBJECT, [subject])
            await state.execute(_ACTIVE, [subject])
            await state.execute(_RECORD, values)
        await server.execute(_LOCK, [name])
        await server.execute(_LOOK, [name])
        await server.execute(_LOOK_AT_ROLES, [[name]])
        await state.execute(_CONFIRM, [operation, token])
        yield
        await state.execute(_FINISH, values)
        await server.execute(_UNLOCK)
