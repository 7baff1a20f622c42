"""Replicas of one broker, its state, and the server of its tenants, together.

Belongs here: setting them up for tests, and the assertion that ends each of them.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import AsyncConnection

from broker.config import load_settings
from broker.store import KeyRing
from tests.support.faults_agreement import Agreement
from tests.support.faults_failpoints import Action, Failpoint, Failpoints
from tests.support.faults_platform import Ledger, PatientPlatform
from tests.support.faults_replica import Replica, replica_environment
from tests.support.faults_waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path
    from uuid import UUID

    from tests.support.postgres import PostgresServer

_LEASE = """
    SELECT lease_token FROM pgbroker.operations
    WHERE instance_id = %s AND state = 'in progress'
"""
_RECORDED = "SELECT count(*) FROM pgbroker.operations WHERE instance_id = %s"


@dataclass(slots=True)
class Fleet:
    """Two replicas: one that always runs, and one that has failpoints.

    Attributes:
        postgres: Holds the state and the tenants.
        state_dsn: The state database.
        environ: What the replicas are started with.
        survivor: Runs whenever a test begins.
        failing: Has failpoints; started when it is asked for.
        failpoints: Its failpoints.
        agreement: Looks at everything.
        ledger: What the test's platforms were told; empty when a test begins.
    """

    postgres: PostgresServer
    state_dsn: str
    environ: Mapping[str, str] = field(repr=False)
    survivor: Replica
    failing: Replica
    failpoints: Failpoints
    agreement: Agreement
    ledger: Ledger = field(default_factory=Ledger)

    async def begin(self) -> None:
        """Get ready for a test."""
        self.ledger = Ledger()
        self.failpoints.disarm()
        await self.survivor.start()
        await self.agreement.begin()

    def end(self) -> None:
        """Leave nothing running."""
        self.survivor.kill()
        self.failing.kill()

    async def arm(self, kind: str, boundary: str, action: Action) -> None:
        """Have the failing replica run, and something happen to it."""
        await self.failing.start()
        self.failpoints.arm(Failpoint(kind, boundary, action))

    async def reached(self) -> None:
        """Wait until the failing replica has come to every failpoint that was armed."""
        await until(self.failpoints.all_reached, what="the failpoint is reached")

    async def lease_of(self, instance: str) -> UUID | None:
        """Return the token of who works on an instance or a binding of it, if anybody does."""
        async with await AsyncConnection.connect(self.state_dsn, autocommit=True) as state:
            row = await (await state.execute(_LEASE, [instance])).fetchone()
        return None if row is None else row[0]

    async def is_busy(self, instance: str) -> bool:
        """Tell whether an operation on an instance or a binding of it is in progress."""
        return await self.lease_of(instance) is not None

    async def is_recorded(self, instance: str) -> bool:
        """Tell whether there has been an operation on an instance, be it over or not."""
        async with await AsyncConnection.connect(self.state_dsn, autocommit=True) as state:
            return await (await state.execute(_RECORDED, [instance])).fetchone() != (0,)

    async def taken_over(self, instance: str, since: UUID | None) -> None:
        """Wait until somebody else works on what is in progress on an instance.

        Args:
            instance: Its id.
            since: The token of who worked on it before.
        """

        async def changed() -> bool:
            return await self.lease_of(instance) != since

        await until(changed, what="it is taken over")

    @asynccontextmanager
    async def platform(
        self, *replicas: Replica, asynchronous: bool = False
    ) -> AsyncIterator[PatientPlatform]:
        """Yield a platform that asks these replicas; the survivor, when none is named."""
        async with PatientPlatform(
            replicas or (self.survivor,), self.ledger, asynchronous=asynchronous
        ) as platform:
            yield platform

    async def agrees(self) -> None:
        """Assert that, once all is quiet, state, catalogs and what was told agree.

        Raises:
            AssertionError: With every difference.
        """
        await self.agreement.settle()
        differences = await self.agreement.differences(self.ledger)
        assert not differences, "\n".join(differences)


def a_fleet(tenants: PostgresServer, state_dsn: str, directory: Path, **settings: str) -> Fleet:
    """Put a fleet together; nothing is started yet.

    Args:
        tenants: Holds the tenants, and nobody else's.
        state_dsn: A migrated state database.
        directory: For files.
        settings: More ``PGBROKER_*`` variables, without the prefix.
    """
    environ = replica_environment(tenants, state_dsn, directory, **settings)
    loaded = load_settings(environ)
    failpoints = directory / "failpoints"
    failpoints.mkdir()
    return Fleet(
        postgres=tenants,
        state_dsn=state_dsn,
        environ=environ,
        survivor=Replica("survivor", environ, directory / "survivor.log"),
        failing=Replica("failing", environ, directory / "failing.log", failpoints=failpoints),
        failpoints=Failpoints(failpoints),
        agreement=Agreement(
            tenants,
            state_dsn,
            KeyRing([(key.id, key.key) for key in loaded.encryption_keys]),
            connections={
                plan.id: plan.limits.connections
                for offering in loaded.catalog.offerings
                for plan in offering.plans
            },
        ),
    )
