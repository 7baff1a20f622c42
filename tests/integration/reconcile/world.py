"""A broker's state and server, to be damaged and looked at."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from psycopg import AsyncConnection
from psycopg.sql import SQL, Composed, Identifier

from broker.domain.database import Access
from broker.domain.instance import Status
from broker.domain.operation import OperationKind
from broker.service.reconcile import Orders, Reconciler, ServerReport, reconcile
from tests.integration.postgres.replica import CATALOG, Life, Replica

if TYPE_CHECKING:
    from typing import LiteralString

    import pytest
    from psycopg.rows import TupleRow

    from broker.domain.drift import DriftKind
    from broker.domain.inventory import Inventory
    from broker.postgres.engine import PostgresEngine
    from tests.support.postgres import PostgresServer

LOOK = Orders(apply=False)
APPLY = Orders(apply=True)


@dataclass
class World:
    """One replica on the run's server.

    Attributes:
        postgres: The server.
        replica: State and engine.
        superuser: A session that may damage anything.
        lives: What was made; taken away after the test.
        now: The time.
    """

    postgres: PostgresServer
    replica: Replica
    superuser: AsyncConnection[TupleRow]
    lives: list[Life] = field(default_factory=list)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    async def a_life(self, access: Access = Access.WRITE) -> Life:
        """Provision an instance and bind it."""
        new = Life.new()
        life = Life(
            replace(new.instance, created_at=self.now),
            replace(new.binding, access=access, created_at=self.now),
        )
        self.lives.append(life)
        await self.replica.carry_out(OperationKind.PROVISION, life)
        await self.replica.carry_out(OperationKind.BIND, life)
        return Life(
            replace(life.instance, status=Status.READY), replace(life.binding, status=Status.READY)
        )

    async def reconcile(self, orders: Orders = LOOK) -> ServerReport:
        """Reconcile the one server."""
        (report,) = await reconcile(self.reconciler, orders)
        assert report.failure is None
        return report

    @property
    def reconciler(self) -> Reconciler:
        """What reconciles."""
        return Reconciler(
            self.replica.store,
            {"alpha": self.replica.engine},
            CATALOG,
            self.replica.tags,
            clock=lambda: self.now,
        )

    async def list_now(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Have the next look go by what there is now, whatever happens until then."""
        engine = type(self.replica.engine)
        listed, early = engine.inventory, [await self.replica.engine.inventory()]

        async def inventory(of: PostgresEngine) -> Inventory:
            return early.pop() if early else await listed(of)

        monkeypatch.setattr(engine, "inventory", inventory)

    def later(self, by: timedelta) -> None:
        """Let time pass."""
        self.now += by

    async def damage(self, statement: LiteralString, *names: str, database: str = "") -> None:
        """Do something to the server as a superuser, that the broker does not know of."""
        async with self.postgres.superuser(database or "pgbroker") as session:
            await session.execute(SQL(statement).format(*map(Identifier, names)))

    async def damage_as_broker(self, statement: LiteralString, *names: str) -> None:
        """Do something with the broker's role, past the broker."""
        await _execute(self.postgres.broker_dsn(), SQL(statement).format(*map(Identifier, names)))

    async def ask(self, query: LiteralString, *values: str | list[str]) -> list[TupleRow]:
        """Ask the server."""
        return await (await self.superuser.execute(query, values)).fetchall()

    async def close(self) -> None:
        """Take away what was made, whatever the test has done to its comments."""
        for life in self.lives:
            instance = life.instance
            for name in (instance.database, instance.owner):
                if await self.ask("SELECT FROM pg_roles WHERE rolname = %s", name):
                    await self.damage("COMMENT ON ROLE {} IS NULL", name)
            if await self.ask("SELECT FROM pg_database WHERE datname = %s", instance.database):
                await self.damage("COMMENT ON DATABASE {} IS NULL", instance.database)
            await self.replica.clean(life)

    def dsn(self, life: Life) -> str:
        """Return the connection string of a binding."""
        assert life.binding.secret is not None
        password = life.binding.secret.password.reveal()
        return self.postgres.dsn(life.binding.login, password, life.instance.database)


async def _execute(dsn: str, command: Composed) -> None:
    async with await AsyncConnection.connect(dsn, autocommit=True) as session:
        await session.execute(command)


def kinds(report: ServerReport) -> set[tuple[DriftKind, str, bool]]:
    """Return what was found: the kind, of what, and whether it has been resolved."""
    return {(d.deviation.kind, d.deviation.subject, d.resolved) for d in report.drift}
