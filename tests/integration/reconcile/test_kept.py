"""What is kept of deleted instances, and the warm stock: neither lost nor taken for strangers."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from psycopg import AsyncConnection

from broker.domain.deleted import DeletedInstance, Stage
from broker.domain.drift import DriftKind
from broker.domain.instance import Status
from broker.domain.names import retained_name
from broker.domain.operation import OperationKind
from broker.domain.warm import Location, WarmDatabase, warm_key
from broker.operations.steps import retention_of, withdraw
from broker.service.recover import Outcome, recover
from broker.service.specs import database_spec
from tests.integration.postgres.replica import Life
from tests.integration.postgres.stepwise import confirmed
from tests.integration.reconcile.world import APPLY, World, kinds
from tests.unit.domain.examples import PLAN, an_operation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.domain.database import Retention
    from broker.service.ports import DatabaseSession


@pytest.fixture
async def kept(world: World) -> AsyncIterator[DeletedInstance]:
    """Return a deleted instance whose database has been put aside."""
    await world.a_life()
    async with put_aside(world, await world.a_life()) as deleted:
        yield deleted


@asynccontextmanager
async def put_aside(world: World, life: Life) -> AsyncIterator[DeletedInstance]:
    """Delete an instance and keep its database, until the context is left."""
    replica = world.replica
    deleted = DeletedInstance(
        id=uuid4(),
        instance=life.instance,
        deleted_at=world.now,
        purge_at=world.now + timedelta(days=7),
        stage=Stage.RETAINED,
    )
    for step in withdraw(life.instance, [life.binding], replica.tags, deleted=deleted):
        await replica.engine.exclusively(life.instance.database, step.run, confirm=confirmed)
    async with replica.store.transaction() as state:
        await state.remove_instance(life.instance.key)
        await state.deleted.add(deleted)
    yield deleted
    retention = retention_of(deleted, None, replica.tags)
    await replica.engine.exclusively(
        life.instance.database,
        lambda database: database.purge_database(retention),
        confirm=confirmed,
    )


async def test_what_is_kept_is_no_drift(world: World, kept: DeletedInstance) -> None:
    """A database that was put aside is known, under the name it has meanwhile."""
    assert kept.stage is Stage.RETAINED
    assert kinds(await world.reconcile(APPLY)) == set()


async def test_what_is_kept_and_gone_is_an_alarm(world: World, kept: DeletedInstance) -> None:
    """A kept database that somebody has dropped is told, with the way to give it up."""
    name = retained_name(kept.instance.database)
    await world.damage("DROP DATABASE {}", name)
    (drift,) = (await world.reconcile(APPLY)).drift
    assert drift.deviation.kind is DriftKind.DATABASE_MISSING
    assert (drift.deviation.subject, drift.resolved) == (name, False)
    assert f"purge {kept.id}" in drift.deviation.detail


async def test_what_is_kept_and_relabelled_is_an_alarm(world: World, kept: DeletedInstance) -> None:
    """It could be neither restored nor dropped, and nobody would know before that is tried."""
    name = retained_name(kept.instance.database)
    await world.damage("COMMENT ON DATABASE {} IS 'mine'", name)
    report = await world.reconcile(APPLY)
    assert kinds(report) == {(DriftKind.FOREIGN, name, False)}
    assert not report.clean
    tag = world.replica.tags.deleted(kept.key, kept.instance.tag_key_id)
    await world.damage_as_broker(f"COMMENT ON DATABASE {{}} IS '{tag}'", name)
    assert kinds(await world.reconcile(APPLY)) == set()


async def test_what_was_put_aside_since_it_was_listed_is_no_drift(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its roles have the names they had, and are those of what is kept."""
    await world.a_life()
    life = await world.a_life()
    await world.list_now(monkeypatch)
    async with put_aside(world, life):
        assert kinds(await world.reconcile(APPLY)) == set()


async def test_what_was_kept_anew_since_it_was_listed_is_no_drift(
    world: World, kept: DeletedInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restored and deleted again meanwhile, it is known, as another deletion's."""
    replica = world.replica
    await world.list_now(monkeypatch)
    former = retention_of(kept, None, replica.tags)
    async with replica.store.transaction() as state:
        await state.deleted.remove(kept.id)
    await replica.engine.exclusively(
        kept.instance.database,
        lambda database: database.restore_database(former),
        confirm=confirmed,
    )
    async with put_aside(world, Life(kept.instance, Life.new().binding)):
        assert kinds(await world.reconcile(APPLY)) == set()


async def test_what_was_kept_is_recovered_as_that(world: World, kept: DeletedInstance) -> None:
    """Without its record it is reported; recovered, it is kept for as long as before."""
    replica = world.replica
    before = await replica.store.deleted.find(kept.id)
    assert before is not None
    async with replica.store.transaction() as state:
        await state.deleted.remove(kept.id)
    name = f"{kept.instance.database}_deleted"
    assert kinds(await world.reconcile(APPLY)) == {(DriftKind.UNKNOWN_DATABASE, name, True)}
    report = await recover(replica.store, {"alpha": replica.engine}, replica.tags)
    assert {one.subject: one.outcome for one in report.found}[name] is Outcome.KEPT
    assert await replica.store.deleted.find(kept.id) == before
    assert kinds(await world.reconcile(APPLY)) == set()


async def test_what_was_purged_since_the_look_is_not_recovered(
    world: World, kept: DeletedInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a replica that runs: it drops the database first, and then forgets it."""
    replica = world.replica
    await world.list_now(monkeypatch)
    retention = retention_of(kept, None, replica.tags)
    await replica.engine.exclusively(
        kept.instance.database, partial(_purge, retention=retention), confirm=confirmed
    )
    async with replica.store.transaction() as state:
        await state.deleted.remove(kept.id)
    report = await recover(replica.store, {"alpha": replica.engine}, replica.tags)
    assert retained_name(kept.instance.database) not in {one.subject for one in report.found}
    assert await replica.store.deleted.find(kept.id) is None


async def test_an_old_backup_has_the_instance_still(world: World, kept: DeletedInstance) -> None:
    """A state that knows nothing of its deletion gets no second record of the same database."""
    replica = world.replica
    async with replica.store.transaction() as state:
        await state.deleted.remove(kept.id)
        assert await state.add_instance(kept.instance)
    report = await recover(replica.store, {"alpha": replica.engine}, replica.tags)
    outcomes = {one.subject: one.outcome for one in report.found}
    assert outcomes[f"{kept.instance.database}_deleted"] is Outcome.CONFLICT
    assert not report.complete
    assert await replica.store.deleted.find(kept.id) is None


async def test_an_old_backup_has_another_deletion_of_the_same_data(
    world: World, kept: DeletedInstance
) -> None:
    """Restored and deleted again since: the state says another deletion, and is left as it is."""
    replica = world.replica
    older = replace(kept, id=uuid4())
    async with replica.store.transaction() as state:
        await state.deleted.remove(kept.id)
        await state.deleted.add(older)
    report = await recover(replica.store, {"alpha": replica.engine}, replica.tags)
    outcomes = {one.subject: one.outcome for one in report.found}
    assert outcomes[f"{kept.instance.database}_deleted"] is Outcome.CONFLICT
    assert [one.id for one in await replica.store.deleted.listed()] == [older.id]


async def test_an_old_backup_has_the_data_as_deleted_still(world: World) -> None:
    """A state that knows nothing of the restore gets no instance with a database that is kept.

    Purging the record that is wrong changes nothing on the server; then all can be recovered.
    """
    life, replica = await world.a_life(), world.replica
    stale = DeletedInstance(
        id=uuid4(),
        instance=life.instance,
        deleted_at=world.now,
        purge_at=world.now + timedelta(days=7),
        stage=Stage.RETAINED,
    )
    async with replica.store.transaction() as state:
        await state.remove_instance(life.instance.key)
        await state.deleted.add(stale)
    for expected in (Outcome.CONFLICT, Outcome.RECOVERED):
        report = await recover(replica.store, {"alpha": replica.engine}, replica.tags)
        outcomes = {one.subject: one.outcome for one in report.found}
        assert outcomes[life.instance.database] is expected
        assert outcomes[life.binding.login] is expected
        retention = retention_of(stale, None, replica.tags)
        await replica.engine.exclusively(
            life.instance.database,
            partial(_purge, retention=retention),
            confirm=confirmed,
        )
        async with replica.store.transaction() as state:
            await state.deleted.remove(stale.id)
    async with await AsyncConnection.connect(world.dsn(life)) as tenant:
        await tenant.execute("SELECT 1")


@pytest.fixture
async def spare(world: World) -> WarmDatabase:
    """Return a spare database of the warm stock, as it is on the server and in the state."""
    await world.a_life()
    life, replica = Life.new(), world.replica
    name = life.instance.database
    spare = replace(life.instance, key=warm_key(name))
    world.lives.append(replace(life, instance=spare))
    recorded = WarmDatabase(
        database=name,
        server="alpha",
        service_id=spare.service_id,
        plan_id=spare.plan_id,
        fingerprint="of this test",
        tag=replica.tags.instance(spare.key, "k1"),
    )
    await replica.store.warm.add(recorded)
    spec = replace(database_spec(spare, PLAN.limits, replica.tags), record=None)

    async def make(database: DatabaseSession) -> None:
        await database.ensure_roles(spec)
        await database.ensure_database(spec)
        await database.initialise_database(spec)

    await replica.engine.exclusively(name, make, confirm=confirmed)
    return recorded


async def test_the_warm_stock_is_no_drift(world: World, spare: WarmDatabase) -> None:
    """A spare database is known for as long as the stock has it, and never recovered."""
    replica, name = world.replica, spare.database
    assert kinds(await world.reconcile(APPLY)) == set()
    report = await recover(replica.store, {"alpha": replica.engine}, replica.tags)
    assert name not in {one.subject for one in report.found}
    await replica.store.warm.give_up(name)
    await replica.store.warm.forget(name)
    assert kinds(await world.reconcile(APPLY)) == {(DriftKind.UNKNOWN_DATABASE, name, True)}


async def test_what_was_handed_over_is_no_drift(world: World, spare: WarmDatabase) -> None:
    """An instance whose database still says it is a spare one is in progress, not in disorder."""
    replica, name = world.replica, spare.database
    assert await replica.store.warm.ready(name)
    wanted = replace(Life.new().instance, status=Status.READY)
    operation = an_operation(OperationKind.PROVISION, instance=wanted.key).succeeded()
    taken = await replica.store.warm.hand_over(
        wanted, operation, fingerprint=spare.fingerprint, servers=["alpha"]
    )
    assert taken == Location("alpha", name)
    report = await world.reconcile(APPLY)
    assert kinds(report) == set()
    assert name in report.skipped
    await replica.store.warm.adopted(name)
    found = kinds(await world.reconcile())
    assert (DriftKind.FOREIGN, name, False) in found


async def _purge(database: DatabaseSession, *, retention: Retention) -> None:
    await database.purge_database(retention)
