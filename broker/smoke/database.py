"""What an application does with its credentials."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.sql import SQL, Composed, Identifier

from broker.smoke.credentials import ways_to_connect
from broker.smoke.errors import StepFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from broker.smoke.credentials import Way

_STATEMENT_TIMEOUT = 30


class Application:
    """A user of one database, with a table of its own; a context manager.

    The files with CA certificates that libpq needs are removed at the end.
    """

    def __init__(self) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="pgbroker-smoke-")
        self._table = Identifier(f"smoke_{secrets.token_hex(6)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._directory.cleanup()

    async def connect_every_way(self, credentials: Mapping[str, Any]) -> str:
        """Connect in every way the credentials describe; tell where that led.

        Raises:
            StepFailed: A way does not lead anywhere, or two lead to different databases.
        """
        reached = {}
        for name, way in self._ways(credentials).items():
            async with _connected(way) as connection:
                row = await _one(
                    connection,
                    SQL(
                        "SELECT pg_catalog.current_database(), CURRENT_USER::pg_catalog.text, "
                        "pg_catalog.current_setting('server_version')"
                    ),
                )
                encrypted = "TLS" if connection.pgconn.ssl_in_use else "no TLS"
                reached[name] = (*row, encrypted)
        if len(set(reached.values())) > 1:
            raise StepFailed(f"The credentials contradict each other: {reached}.")
        _, _, version, encrypted = next(iter(reached.values()))
        return f"by {' and '.join(reached)}; PostgreSQL {version}, {encrypted}"

    async def create_table(self, credentials: Mapping[str, Any]) -> None:
        """Create the table."""
        await self._execute(
            credentials, SQL("CREATE TABLE {} (id int PRIMARY KEY, word text)").format(self._table)
        )

    async def write(self, credentials: Mapping[str, Any], number: int) -> None:
        """Write a row."""
        await self._execute(credentials, self._insert(number))

    async def read(self, credentials: Mapping[str, Any], numbers: list[int]) -> None:
        """Read all rows.

        Raises:
            StepFailed: They are not the expected ones.
        """
        query = SQL("SELECT coalesce(array_agg(id ORDER BY id), '{{}}') FROM {}")
        async with _connected(self._way(credentials)) as connection:
            (found,) = await _one(connection, query.format(self._table))
        if found != numbers:
            raise StepFailed(f"Expected to read the rows {numbers}, got {found}.")

    async def expect_read_only(self, credentials: Mapping[str, Any], number: int) -> None:
        """Try to write, also after asking for it.

        Raises:
            StepFailed: That was possible.
        """
        for preparation in ("SELECT 1", "SET default_transaction_read_only = off"):
            async with _connected(self._way(credentials)) as connection:
                await connection.execute(preparation)
                try:
                    await connection.execute(self._insert(number))
                except (errors.ReadOnlySqlTransaction, errors.InsufficientPrivilege):
                    continue
            raise StepFailed(f"Writing was possible after {preparation}; expected a refusal.")

    async def expect_refused(
        self, credentials: Mapping[str, Any], *, server_stays: bool = True
    ) -> None:
        """Try to connect.

        Args:
            credentials: Of a binding that has been deleted.
            server_stays: The server must be there to refuse; otherwise it may be gone, too.

        Raises:
            StepFailed: The login still works, or nobody was there to refuse it.
        """
        for way in self._ways(credentials).values():
            try:
                connection = await AsyncConnection.connect(**way)
            except psycopg.OperationalError as exc:
                if server_stays and not await _listens(way):
                    raise StepFailed(
                        "Expected the server to refuse the login, and it cannot be reached."
                    ) from exc
            else:
                await connection.close()
                raise StepFailed("The login still works; expected the server to refuse it.")

    def _insert(self, number: int) -> Composed:
        return SQL("INSERT INTO {} VALUES ({}, 'smoke')").format(self._table, number)

    async def _execute(self, credentials: Mapping[str, Any], statement: Composed) -> None:
        async with _connected(self._way(credentials)) as connection:
            await connection.execute(statement)

    def _way(self, credentials: Mapping[str, Any]) -> Way:
        return next(iter(self._ways(credentials).values()))

    def _ways(self, credentials: Mapping[str, Any]) -> dict[str, Way]:
        return ways_to_connect(credentials, Path(self._directory.name) / "ca.pem")


@asynccontextmanager
async def _connected(way: Way) -> AsyncIterator[AsyncConnection]:
    """Connect, in autocommit mode, with a bound on every statement.

    Raises:
        StepFailed: There is no connection, or a statement failed.
    """
    try:
        async with await AsyncConnection.connect(**way, autocommit=True) as connection:
            await connection.execute(
                SQL("SET statement_timeout = {}").format(_STATEMENT_TIMEOUT * 1000)
            )
            yield connection
    except psycopg.Error as exc:
        state = f" (SQLSTATE {exc.sqlstate})" if exc.sqlstate else ""
        raise StepFailed(f"PostgreSQL: {str(exc).strip()}{state}") from exc


async def _one(connection: AsyncConnection, query: SQL | Composed) -> tuple[Any, ...]:
    row = await (await connection.execute(query)).fetchone()
    if row is None:
        raise StepFailed("PostgreSQL returned no row; expected one.")
    return row


async def _listens(way: Way) -> bool:
    """Tell whether something listens; the words of a refusal depend on the server's language."""
    try:
        async with asyncio.timeout(way["connect_timeout"]):
            _, writer = await asyncio.open_connection(way["host"], int(way.get("port") or 5432))
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
