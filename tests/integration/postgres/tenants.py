"""Tenants of a server, for tests to use and to attack with."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg.sql import SQL, Composed, Identifier

from broker.domain import names
from broker.domain.credentials import Secret, generate_login_secret
from broker.domain.database import (
    Access,
    DatabaseChange,
    DatabaseOptions,
    DatabaseSpec,
    Limits,
    LoginSpec,
)
from broker.postgres.look_statements import lock_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from tests.integration.postgres.stepwise import StepwiseEngine
    from tests.support.postgres import PostgresServer

LAST_VERSION_TO_LEND_LOGINS = 14
"""Up to this version a login role had ADMIN OPTION on itself."""

LIMITS = Limits(connections=20, connections_per_binding=10)

Session = AsyncConnection[TupleRow]


def database_spec(
    *,
    limits: Limits = LIMITS,
    extensions: Sequence[str] = (),
    options: DatabaseOptions | None = None,
) -> DatabaseSpec:
    """Describe a new database under a new name."""
    name = names.database_name()
    return DatabaseSpec(
        name=name,
        owner=names.owner_name(name),
        tag=f"pgbroker:test:{name}",
        limits=limits,
        extensions=tuple(extensions),
        options=options or DatabaseOptions(),
    )


def login_spec(database: DatabaseSpec, access: Access = Access.WRITE) -> tuple[LoginSpec, Secret]:
    """Describe a new login, and return its password."""
    secret = generate_login_secret()
    name = names.login_name()
    return LoginSpec(
        name=name,
        database=database.name,
        owner=database.owner,
        access=access,
        verifier=secret.verifier,
        limits=database.limits,
        tag=f"pgbroker:test:{name}",
    ), secret.password


@dataclass(frozen=True)
class Login:
    """The credentials of one binding.

    Attributes:
        spec: What the engine was asked for.
        password: In clear text.
        server: Where it is.
    """

    spec: LoginSpec
    password: Secret
    server: PostgresServer

    @property
    def name(self) -> str:
        """The role's name."""
        return self.spec.name

    def dsn(self, database: str | None = None) -> str:
        """Return the tenant's connection string, to its own or another database."""
        return self.server.dsn(self.name, self.password.reveal(), database or self.spec.database)

    @asynccontextmanager
    async def session(self, database: str | None = None) -> AsyncIterator[Session]:
        """Open a session; the server may end it before the caller does."""
        session = await AsyncConnection.connect(self.dsn(database), autocommit=True)
        try:
            yield session
        finally:
            await session.close()

    async def query(
        self, statement: LiteralString | bytes | Composed, *parameters: object
    ) -> list[TupleRow]:
        """Run one statement in a session of its own and return its rows."""
        async with self.session() as session:
            return await rows(session, statement, *parameters)

    async def can_connect(self, database: str | None = None) -> bool:
        """Tell whether the server lets this login into a database."""
        try:
            async with self.session(database):
                return True
        except psycopg.OperationalError:
            return False


@dataclass
class Tenant:
    """A provisioned database and its bindings."""

    server: PostgresServer
    engine: StepwiseEngine
    spec: DatabaseSpec
    logins: list[Login] = field(default_factory=list)

    async def bind(self, access: Access = Access.WRITE, **changes: Any) -> Login:
        """Make a login; ``changes`` are fields of ``LoginSpec``."""
        spec, password = login_spec(self.spec, access)
        login = Login(replace(spec, **changes), password, self.server)
        self.logins.append(login)
        await self.engine.ensure_login(login.spec)
        return login

    async def unbind(self, login: Login) -> None:
        """Revoke a login."""
        await self.engine.drop_login(login.name, database=self.spec.name, owner=self.spec.owner)

    async def update(
        self,
        *,
        limits: Limits | None = None,
        add: Sequence[str] = (),
        drop: Sequence[str] = (),
    ) -> None:
        """Change limits and extensions."""
        await self.engine.change_database(
            DatabaseChange(
                database=replace(self.spec, limits=limits or self.spec.limits),
                add_extensions=tuple(add),
                drop_extensions=tuple(drop),
                logins=tuple(login.name for login in self.logins),
            )
        )

    async def forbid_writes(self) -> None:
        """Do what happens when the database is full."""
        await self.engine.forbid_writes(self.spec.name, owner=self.spec.owner)

    async def allow_writes(self) -> None:
        """Do what happens when it is so no longer."""
        await self.engine.allow_writes(
            [login.name for login in self.logins if login.spec.access is Access.WRITE],
            database=self.spec.name,
            owner=self.spec.owner,
        )

    async def deprovision(self) -> None:
        """Drop everything."""
        await self.engine.drop_database(self.spec, [login.name for login in self.logins])


class Tenants:
    """Makes tenants and takes them away again."""

    def __init__(self, server: PostgresServer, engine: StepwiseEngine) -> None:
        self._server = server
        self._engine = engine
        self._stack = AsyncExitStack()

    async def provision(self, **changes: Any) -> Tenant:
        """Make a tenant; ``changes`` are arguments of ``database_spec``."""
        tenant = Tenant(self._server, self._engine, database_spec(**changes))
        self._stack.push_async_callback(tenant.deprovision)
        await self._engine.ensure_roles(tenant.spec)
        await self._engine.ensure_database(tenant.spec)
        await self._engine.initialise_database(tenant.spec)
        return tenant

    async def close(self) -> None:
        """Deprovision all tenants."""
        await self._stack.aclose()


async def rows(
    session: Session, statement: LiteralString | bytes | Composed, *parameters: object
) -> list[TupleRow]:
    """Run one statement and return its rows."""
    cursor = await session.execute(statement, parameters or None)
    return [] if cursor.description is None else await cursor.fetchall()


async def lend(login: Login, borrower: Login, superuser: Session) -> None:
    """Make one login a member of another: up to 14 a tenant can do that, later a superuser."""
    statement = SQL("GRANT {} TO {}").format(Identifier(login.name), Identifier(borrower.name))
    if login.server.version > LAST_VERSION_TO_LEND_LOGINS:
        await superuser.execute(statement)
        return
    async with login.session() as session:
        await session.execute("SET ROLE NONE")
        await session.execute(statement)


async def until(condition: Callable[[], Awaitable[bool]], *, within: float = 10) -> None:
    """Wait until a condition of the server holds, asking it again and again."""
    async with asyncio.timeout(within):
        while not await condition():
            pass  # each question is a round trip, which lets others run


async def is_alive(session: Session) -> bool:
    """Tell whether a session has not been ended by the server."""
    try:
        await session.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


async def waits_for_lock(observer: Session, session: Session) -> bool:
    """Tell whether a session waits for a lock."""
    return bool(
        await rows(
            observer,
            "SELECT FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'",
            session.info.backend_pid,
        )
    )


async def someone_waits_for(observer: Session, database: str) -> bool:
    """Tell whether a session of the broker waits for the lock of a database."""
    return bool(
        await rows(
            observer,
            "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
            "AND (classid::int8 << 32 | objid::int8) = %s",
            lock_key(database),
        )
    )
