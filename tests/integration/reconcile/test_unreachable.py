"""Servers that do not answer keep nobody from looking at the others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.domain.drift import DriftKind
from broker.postgres.engine import PostgresEngine
from broker.service.reconcile import reconcile
from broker.service.recover import Outcome, recover
from tests.integration.reconcile.world import APPLY, World, kinds
from tests.support.process import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def gone() -> AsyncIterator[PostgresEngine]:
    """Return the engine of a server that is not there."""
    engine = PostgresEngine("gone", f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    await engine.open()
    yield engine
    await engine.close()


async def test_reconciling_goes_on_with_the_other_servers(
    world: World, gone: PostgresEngine
) -> None:
    """What could not be looked at is said, and counts neither as clean nor as looked at."""
    life = await world.a_life()
    await world.damage_as_broker("ALTER DATABASE {} CONNECTION LIMIT 77", life.instance.database)
    both = replace(world.reconciler, engines={"gone": gone, "alpha": world.replica.engine})
    missing, present = await reconcile(both, APPLY)
    assert missing.failure is not None
    assert not missing.clean
    assert kinds(present) == {(DriftKind.LIMITS, life.instance.database, True)}
    assert present.clean
    assert set(await world.replica.store.drift.looked_at()) == {"alpha"}


async def test_recovering_goes_on_with_the_other_servers(
    world: World, gone: PostgresEngine
) -> None:
    """What is there is recovered, and the report says where to look again."""
    life = await world.a_life()
    replica = world.replica
    async with replica.store.transaction() as state:
        await state.remove_instance(life.instance.key)
    report = await recover(replica.store, {"gone": gone, "alpha": replica.engine}, replica.tags)
    assert set(report.failures) == {"gone"}
    assert not report.complete
    assert {one.outcome for one in report.found} == {Outcome.RECOVERED}
