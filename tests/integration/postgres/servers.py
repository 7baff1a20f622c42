"""A server of a test's own."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import AsyncConnection

from broker.postgres.prepare import prepare
from tests.integration.postgres.stepwise import StepwiseEngine
from tests.support.postgres import BROKER_ROLE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.domain.credentials import Secret
    from broker.domain.database import LoginSpec
    from broker.embedded import EmbeddedPostgres
    from tests.integration.postgres.tenants import Session

PASSWORD = "the-brokers-own-password"


@dataclass(frozen=True)
class OwnServer:
    """A prepared server that a test may stop and start.

    Attributes:
        embedded: The server.
        dsn: The broker's connection string.
    """

    embedded: EmbeddedPostgres
    dsn: str

    @classmethod
    async def prepare(cls, embedded: EmbeddedPostgres) -> OwnServer:
        """Prepare a running server for the broker."""
        await prepare(
            embedded.superuser_dsn(),
            role=BROKER_ROLE,
            password=PASSWORD,
            maintenance_database=BROKER_ROLE,
        )
        where = f"{embedded.host}:{embedded.port}/{BROKER_ROLE}"
        return cls(embedded, f"postgresql://{BROKER_ROLE}:{PASSWORD}@{where}")

    @asynccontextmanager
    async def engine(self) -> AsyncIterator[StepwiseEngine]:
        """Open an engine on the server."""
        engine = StepwiseEngine("own-server", self.dsn)
        await engine.open()
        try:
            yield engine
        finally:
            await engine.close()

    def login_dsn(self, login: LoginSpec, password: Secret) -> str:
        """Return a tenant's connection string."""
        where = f"{self.embedded.host}:{self.embedded.port}/{login.database}"
        return f"postgresql://{login.name}:{password.reveal()}@{where}"

    async def superuser(self) -> Session:
        """Open a session of the superuser."""
        return await AsyncConnection.connect(self.embedded.superuser_dsn(), autocommit=True)
