"""An engine on the run's server, tenants on it, and a superuser to look behind the curtain."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from tests.integration.postgres.servers import OwnServer
from tests.integration.postgres.stepwise import StepwiseEngine
from tests.integration.postgres.tenants import Session, Tenant, Tenants
from tests.support.postgres import embedded_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.postgres import PostgresServer


@pytest.fixture
async def engine(postgres: PostgresServer) -> AsyncIterator[StepwiseEngine]:
    """Return an open engine, with the broker's unprivileged role."""
    engine = StepwiseEngine("test-server", postgres.broker_dsn())
    await engine.open()
    yield engine
    await engine.close()


@pytest.fixture
async def tenants(postgres: PostgresServer, engine: StepwiseEngine) -> AsyncIterator[Tenants]:
    """Return what makes tenants; they are gone after the test."""
    tenants = Tenants(postgres, engine)
    yield tenants
    await tenants.close()


@pytest.fixture
async def tenant(tenants: Tenants) -> Tenant:
    """Return a tenant."""
    return await tenants.provision()


@pytest.fixture
async def stranger(tenants: Tenants) -> Tenant:
    """Return another tenant of the same server."""
    return await tenants.provision()


@pytest.fixture
async def own_server(servers: Path) -> AsyncIterator[OwnServer]:
    """Return a server of the test's own, to be stopped, filled up or held up."""
    async with embedded_postgres(servers / "own") as embedded:
        yield await OwnServer.prepare(embedded)


@pytest.fixture
async def superuser(postgres: PostgresServer) -> AsyncIterator[Session]:
    """Return a session of the superuser, in the broker's maintenance database."""
    async with await AsyncConnection.connect(
        postgres.superuser_dsn("pgbroker"), autocommit=True
    ) as session:
        yield session


@pytest.fixture
async def operators_role(superuser: Session) -> AsyncIterator[str]:
    """Return a role that a superuser made, as for monitoring; ask for it before any tenant."""
    name = f"exporter_{uuid4().hex}"
    await superuser.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(name)))
    yield name
    await superuser.execute(SQL("DROP ROLE {}").format(Identifier(name)))
