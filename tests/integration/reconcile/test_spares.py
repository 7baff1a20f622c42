"""A former warm stock that no record knows: it is no lost state, and can be dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest

from broker.domain.database import DatabaseSpec
from broker.domain.drift import DriftKind
from broker.domain.names import database_name, owner_name
from broker.domain.warm import WarmDatabase, warm_key
from broker.service.spares import SparesReport, drop_unknown_spares
from tests.integration.postgres.stepwise import confirmed
from tests.integration.reconcile.world import APPLY, World, kinds
from tests.unit.domain import examples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.service.ports import DatabaseSession


def _spec(world: World, database: str, *, of: str | None = None) -> DatabaseSpec:
    tag = world.replica.tags.instance(warm_key(of or database), "k1")
    return DatabaseSpec(database, owner_name(database), tag, examples.PLAN.limits, ("citext",))


async def _make(world: World, spec: DatabaseSpec) -> str:
    async def make(database: DatabaseSession) -> None:
        await database.ensure_roles(spec)
        await database.ensure_database(spec)
        await database.initialise_database(spec)

    await world.replica.engine.exclusively(spec.name, make, confirm=confirmed)
    return spec.name


async def _drop(world: World) -> SparesReport:
    return await drop_unknown_spares(world.reconciler, ["alpha"])


async def _left(world: World, database: str) -> list[str]:
    """Return what is there of a database and its roles."""
    found = await world.ask(
        "SELECT datname FROM pg_database WHERE datname = %s "
        "UNION ALL SELECT rolname FROM pg_roles WHERE rolname IN (%s, %s)",
        database,
        database,
        owner_name(database),
    )
    return [name for (name,) in found]


@pytest.fixture
async def spare(world: World) -> AsyncIterator[str]:
    """Return a database of the stock that no record knows; it is gone after the test."""
    database = await _make(world, _spec(world, database_name()))
    yield database
    if await _left(world, database):
        await world.damage("ALTER DATABASE {} IS_TEMPLATE false", database)
        await world.damage("DROP DATABASE {} WITH (FORCE)", database)
        await world.damage("DROP ROLE {}, {}", database, owner_name(database))


async def test_spare_databases_are_no_lost_state(world: World, spare: str) -> None:
    """However many there are: they hold nothing, and recovering cannot know them."""
    report = await world.reconcile()
    assert kinds(report) == {(DriftKind.UNKNOWN_DATABASE, spare, False)}
    assert "pgbroker warm release --unknown" in report.drift[0].deviation.detail


@pytest.mark.parametrize("closed", [False, True])
async def test_unknown_spare_databases_are_dropped(
    world: World, spare: str, *, closed: bool
) -> None:
    """Open, or closed as unknown: database and roles go, and an instance's database stays."""
    life = await world.a_life()
    if closed:
        await world.reconcile(APPLY)
    report = await _drop(world)
    assert (report.dropped, report.left, report.failures) == ([spare], {}, {})
    assert await _left(world, spare) == []
    assert len(await _left(world, life.instance.database)) == 3
    assert kinds(await world.reconcile()) == set()
    assert (await _drop(world)).dropped == []


async def test_an_unknown_instance_is_not_dropped(world: World) -> None:
    """A database that an instance had is only ever closed."""
    life = await world.a_life()
    async with world.replica.store.transaction() as state:
        await state.remove_instance(life.instance.key)
    report = await _drop(world)
    assert (report.dropped, report.left) == ([], {})
    assert len(await _left(world, life.instance.database)) == 3


async def test_a_recorded_spare_database_is_not_dropped(world: World, spare: str) -> None:
    """One of the present stock is known, and so is one that an instance has just been given."""
    store = world.replica.store
    place = examples.INSTANCE
    tag = _spec(world, spare).tag
    warm = WarmDatabase(spare, "alpha", place.service_id, place.plan_id, "made like this", tag)
    await store.warm.add(warm)
    assert (await _drop(world)).dropped == []
    await store.warm.release(warm)
    await store.warm.forget(spare)
    instance = replace(examples.INSTANCE, server="alpha", database=spare, owner=owner_name(spare))
    async with store.transaction() as state:
        await state.add_instance(instance)
    assert (await _drop(world)).dropped == []
    assert len(await _left(world, spare)) == 3
    async with store.transaction() as state:
        await state.remove_instance(instance.key)


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize(
    "used",
    [
        "CREATE TABLE kept (id int)",
        "CREATE SCHEMA kept",
        "CREATE FUNCTION kept() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "SELECT lo_create(0)",
    ],
)
async def test_a_database_that_holds_something_is_kept(
    world: World, spare: str, used: str, *, closed: bool
) -> None:
    """Whoever made something in it, and however: it stays, as open or closed as it was."""
    async with await psycopg.AsyncConnection.connect(
        world.postgres.superuser_dsn(spare), autocommit=True
    ) as session:
        await session.execute(used.encode())
    if closed:
        await world.reconcile(APPLY)
    report = await _drop(world)
    assert report.dropped == []
    assert "somebody has made something in it" in report.left[spare]
    assert await world.ask("SELECT datallowconn FROM pg_database WHERE datname = %s", spare) == [
        (not closed,)
    ]


async def test_a_database_with_somebody_in_it_is_kept(world: World, spare: str) -> None:
    """A session of anybody but the broker keeps it, and is not ended; a login keeps it, too."""
    async with await psycopg.AsyncConnection.connect(
        world.postgres.superuser_dsn(spare), autocommit=True
    ) as session:
        assert spare in (await _drop(world)).left
        await session.execute("SELECT 1")
        await session.execute("CREATE ROLE somebody LOGIN")
    await world.damage("GRANT {} TO somebody", spare)
    try:
        assert "has a login for it" in (await _drop(world)).left[spare]
    finally:
        await world.damage("DROP ROLE somebody")
    assert (await _drop(world)).dropped == [spare]


async def test_a_tag_of_another_database_proves_nothing(world: World) -> None:
    """A comment that was copied from the stock does not make a database a spare one."""
    spec = _spec(world, database_name(), of=database_name())
    database = await _make(world, spec)
    report = await _drop(world)
    assert (report.dropped, report.left) == ([], {})
    assert len(await _left(world, database)) == 3

    async def drop(session: DatabaseSession) -> None:
        await session.drop_database(spec, ())

    await world.replica.engine.exclusively(database, drop, confirm=confirmed)


@pytest.mark.parametrize("part", ["DATABASE {}", "ROLE {}"])
async def test_what_is_relabelled_is_kept(world: World, spare: str, part: str) -> None:
    """The tag is proven again under the lock, on the database and on its roles."""
    inventory = await world.replica.engine.inventory()
    await world.damage(f"COMMENT ON {part} IS 'mine'", spare)
    engine = world.replica.engine
    with pytest.MonkeyPatch.context() as before:

        async def listed_before() -> object:
            return inventory

        before.setattr(engine, "inventory", listed_before)
        report = await _drop(world)
    assert report.dropped == []
    assert spare in report.left
    assert len(await _left(world, spare)) == 3
