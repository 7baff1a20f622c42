"""How the broker's own role logs in while its password changes.

Belongs here: which passwords the role may have, and trying them. A role has one password at a
time; which one it is, only the server knows for certain. The state has what it was changed to,
recorded before each change, and the connection string has the first one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self, TypeAlias, TypeVar

import psycopg
import structlog
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from broker.domain.credentials import Secret
from broker.domain.errors import BrokerError

log = structlog.get_logger()

T = TypeVar("T")

StoredPasswords: TypeAlias = Callable[[str], Awaitable[Sequence[Secret]]]
"""Reads the recorded passwords of a role, the likeliest first."""


class AdminLogin:
    """The connection string of the broker's role, and the passwords it may have by now.

    A server may accept another password than the last time at any moment: whoever is refused reads
    what is recorded again and tries the others.

    Args:
        server: The server's configured name, for the log.
        dsn: libpq connection string.
        stored: Reads the recorded passwords. They play no part when the connection string has no
            role or no password: then it is not a password that lets the broker in.
    """

    def __init__(self, server: str, dsn: str, stored: StoredPasswords | None = None) -> None:
        given = conninfo_to_dict(dsn)
        self.dsn = dsn
        self.role = str(given.get("user") or "")
        self._server = server
        self._first = Secret(str(given.get("password") or ""))
        changeable = bool(self.role and self._first.reveal())
        self._stored = stored if changeable else None
        self._candidates: tuple[Secret, ...] = ()

    @property
    def has_password(self) -> bool:
        """Whether the connection string names a role and a password."""
        return bool(self.role and self._first.reveal())

    def with_password(self, password: Secret) -> str:
        """Return the connection string with another password."""
        return make_conninfo(self.dsn, password=password.reveal())

    async def through(
        self, attempt: Callable[[Mapping[str, str]], Awaitable[T]], *, thorough: bool
    ) -> T:
        """Connect, with another password if the last one is refused.

        Args:
            attempt: Connects with these parameters over those of the connection string.
            thorough: Try all passwords even when none has been recorded since the last time. Not
                for a tenant's database, which has reasons of its own to let nobody in.

        Raises:
            psycopg.OperationalError: Each was refused, or passwords are not what is wrong.
        """
        if self._stored is None:
            return await attempt({})
        if not self._candidates:
            await self._load()
        tried = self._candidates[0]
        try:
            return await attempt({"password": tried.reveal()})
        except psycopg.OperationalError as exc:
            known = set(self._candidates)
            if not _was_asked_for_password(exc):
                raise
            await self._load()
            if not thorough and known == set(self._candidates):
                raise
            for other in self._candidates:
                with suppress(psycopg.OperationalError):
                    if other != tried:
                        result = await attempt({"password": other.reveal()})
                        self._prefer(other)
                        return result
            raise

    def sessions(self) -> type[AsyncConnection[TupleRow]]:
        """Return a class of connections that log in like this, for a pool."""
        login = self

        class Session(AsyncConnection[TupleRow]):
            @classmethod
            async def connect(cls, conninfo: str = "", **kwargs: Any) -> Self:
                connect = super().connect

                async def attempt(changed: Mapping[str, str]) -> Self:
                    return await connect(conninfo, **{**kwargs, **changed})

                return await login.through(attempt, thorough=True)

        return Session

    @property
    def password(self) -> Secret:
        """The password that was accepted the last time."""
        return self._candidates[0] if self._candidates else self._first

    async def _load(self) -> None:
        """Read what is recorded; without the state, what is known has to do."""
        if self._stored is None:
            return
        try:
            stored = await self._stored(self.role)
        except BrokerError as exc:
            log.warning("recorded password not read", server=self._server, reason=exc.description)
            stored = [found for found in self._candidates if found != self._first]
        found = tuple(dict.fromkeys((*stored, self._first)))
        if set(found) != set(self._candidates):
            self._candidates = found

    def _prefer(self, password: Secret) -> None:
        log.info("server has another password of the broker's role", server=self._server)
        others = (other for other in self._candidates if other != password)
        self._candidates = (password, *others)


def _was_asked_for_password(exc: psycopg.OperationalError) -> bool:
    """Tell whether a password was sent: there is no SQLSTATE for a refused connection."""
    return exc.pgconn is not None and exc.pgconn.used_password
