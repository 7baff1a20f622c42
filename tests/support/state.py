"""The broker's state database of a test: its own, migrated, gone afterwards.

A ``conftest.py`` that needs the fixtures imports them from here.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest
from psycopg import sql

from broker.store import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.postgres import PostgresServer


async def _create(
    postgres: PostgresServer, *, template: str = "template0", options: LiteralString = ""
) -> str:
    """Create a database that is never open to PUBLIC: other tests look for ones that are."""
    name = f"state_{secrets.token_hex(6)}"
    names = {"name": sql.Identifier(name), "template": sql.Identifier(template)}
    for statement in (
        "CREATE DATABASE {name} TEMPLATE {template} ALLOW_CONNECTIONS false " + options,
        "REVOKE ALL ON DATABASE {name} FROM PUBLIC",
        "ALTER DATABASE {name} ALLOW_CONNECTIONS true",
    ):
        await _run(postgres, sql.SQL(statement).format(**names))
    return name


async def _create_migrated(postgres: PostgresServer) -> str:
    name = await _create(postgres)
    await migrate(postgres.broker_dsn(name))
    return name


async def _drop(postgres: PostgresServer, name: str) -> None:
    await _run(postgres, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def _run(postgres: PostgresServer, statement: sql.Composed) -> None:
    async with await psycopg.AsyncConnection.connect(
        postgres.broker_dsn(), autocommit=True
    ) as connection:
        await connection.execute(statement)


@pytest.fixture(scope="session")
def migrated_template(postgres: PostgresServer) -> Iterator[str]:
    """Return the name of a migrated database that nobody connects to, for cloning."""
    name = asyncio.run(_create_migrated(postgres))
    yield name
    asyncio.run(_drop(postgres, name))


@pytest.fixture
async def empty_dsn(postgres: PostgresServer) -> AsyncIterator[str]:
    """Return a libpq URI of an empty database of this test's own, as the broker's role."""
    name = await _create(postgres)
    yield postgres.broker_dsn(name)
    await _drop(postgres, name)


@pytest.fixture
async def ascii_dsn(postgres: PostgresServer) -> AsyncIterator[str]:
    """Return a libpq URI of an empty database that knows bytes and no characters."""
    name = await _create(postgres, options="ENCODING 'SQL_ASCII' LOCALE 'C'")
    yield postgres.broker_dsn(name)
    await _drop(postgres, name)


@pytest.fixture
async def state_dsn(postgres: PostgresServer, migrated_template: str) -> AsyncIterator[str]:
    """Return a libpq URI of a migrated state database of this test's own, as the broker's role."""
    name = await _create(postgres, template=migrated_template)
    yield postgres.broker_dsn(name)
    await _drop(postgres, name)
