"""Changing the password of the broker's own role on one server.

Belongs here: what happens on the server. The order of things, with what is recorded in between, is
in ``broker/service/rotate_admin.py``.
"""

from __future__ import annotations

import secrets
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import AsyncConnection
from psycopg.sql import SQL, Literal

from broker.domain.errors import PermanentFailure, TemporaryFailure, Unprocessable
from broker.postgres import look_statements as looks
from broker.postgres.connections import connect_once
from broker.postgres.errors import is_lost, unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.domain.credentials import Secret
    from broker.postgres.admin_login import AdminLogin

_LOCK_NAME = "password of the broker's role"

_SESSION = SQL("""
SELECT EXISTS (
    SELECT
    FROM pg_catalog.pg_stat_activity
    WHERE usename = CURRENT_USER AND application_name = %s
)
""")


class AdminSession:
    """A session of the broker's role that keeps all other rotations on the server away.

    Args:
        server: The server's configured name.
        login: How the role logs in.
        connection: The session, which holds the lock.
    """

    def __init__(self, server: str, login: AdminLogin, connection: AsyncConnection) -> None:
        self._server = server
        self._login = login
        self._connection = connection

    @property
    def role(self) -> str:
        """The broker's role."""
        return self._login.role

    async def password(self) -> Secret:
        """Find out which of the passwords known so far the role has.

        Raises:
            ServerUnavailable: There is no connection to be had with any.
        """
        try:
            await (await connect_once(self._login.dsn, login=self._login)).close()
        except psycopg.OperationalError as exc:
            raise unavailable(self._server) from exc
        return self._login.password

    async def change_password(self, verifier: Secret) -> None:
        """Give the role another password.

        Args:
            verifier: Its SCRAM verifier: the password itself does not reach the server.

        Raises:
            Unprocessable: The server has refused, and the password is what it was.
            ServerUnavailable: The session broke; whether the change was made cannot be told.
        """
        statement = SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(Literal(verifier.reveal()))
        try:
            await self._connection.execute(statement)
        except psycopg.Error as exc:
            if is_lost(exc):
                raise unavailable(self._server) from exc
            raise Unprocessable(
                f"The PostgreSQL server {self._server!r} does not let its role {self.role!r} "
                f"change its password (SQLSTATE {exc.sqlstate}); it is what it was."
            ) from exc

    async def accepts(self, password: Secret) -> bool:
        """Tell whether the role can log in with a password."""
        try:
            await (await connect_once(self._login.with_password(password))).close()
        except psycopg.OperationalError:
            return False
        return True

    async def serves(self, dsn: str) -> bool:
        """Tell whether a connection string leads to this server with this very role.

        Whoever connects with it is looked for among the sessions of this server, which no alias of
        a host name and no pooler can deceive.

        Args:
            dsn: libpq connection string. When nobody can connect with it, it leads elsewhere: this
                server can be reached.
        """
        mark = f"pgbroker-{secrets.token_hex(8)}"
        try:
            other = await AsyncConnection.connect(dsn, connect_timeout=5, application_name=mark)
        except psycopg.OperationalError:
            return False
        async with other:
            cursor = await self._connection.execute(_SESSION, [mark])
            return await cursor.fetchone() == (True,)


@asynccontextmanager
async def rotating(server: str, login: AdminLogin) -> AsyncIterator[AdminSession]:
    """Open a session in which the role's password may be changed.

    The lock belongs to the session, and so does the change: whoever has lost the one cannot do the
    other any more, and nobody else gets the lock before the server has finished it.

    Args:
        server: The server's configured name.
        login: How the role logs in.

    Raises:
        Unprocessable: The role logs in without a password.
        TemporaryFailure: Another rotation is under way.
        ServerUnavailable: The server cannot be reached.
    """
    if not login.has_password:
        raise Unprocessable(
            f"The connection string of the server {server!r} has no role or no password: the "
            "broker is let in by something else (a certificate, a password file, the peer's "
            "name). Change that where it is kept."
        )
    try:
        connection = await connect_once(login.dsn, login=login)
    except psycopg.OperationalError as exc:
        raise unavailable(server) from exc
    async with connection:
        if not connection.pgconn.used_password:
            raise Unprocessable(
                f"The server {server!r} lets the role {login.role!r} in without asking for its "
                "password (see pg_hba.conf), so nothing would prove that a new one works."
            )
        key = looks.lock_key(_LOCK_NAME)
        cursor = await connection.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", [key])
        if await cursor.fetchone() != (True,):
            raise TemporaryFailure(
                f"The password for the server {server!r} is being rotated by somebody else at the "
                "moment."
            )
        try:
            yield AdminSession(server, login, connection)
        except psycopg.Error as exc:
            raise PermanentFailure(
                f"The rotation on the server {server!r} was interrupted (SQLSTATE {exc.sqlstate}). "
                "The broker can still log in; rotate again."
            ) from exc
