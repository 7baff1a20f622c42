"""What no record knows, and what only a person can judge."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest

from broker.domain.drift import DriftKind
from broker.domain.instance import Status
from broker.domain.operation import OperationKind
from broker.postgres.look_statements import lock_key
from broker.service.reconcile import Orders, reconcile
from broker.service.recover import recover
from tests.integration.reconcile.world import APPLY, World, kinds
from tests.integration.store.records import remove_binding

if TYPE_CHECKING:
    from broker.service.reconcile import ServerReport
    from tests.integration.postgres.replica import Life

DAY = timedelta(days=1)
PATIENT = Orders(apply=True, quarantine_after=DAY)


async def _forget(world: World, life: Life) -> None:
    """Lose the record of an instance, and of its bindings with it."""
    async with world.replica.store.transaction() as state:
        await state.remove_instance(life.instance.key)


async def _can_connect(world: World, life: Life) -> bool:
    try:
        async with await psycopg.AsyncConnection.connect(world.dsn(life)):
            return True
    except psycopg.OperationalError:
        return False


def _state_of(report: ServerReport, kind: DriftKind) -> list[bool]:
    return [d.resolved for d in report.drift if d.deviation.kind is kind]


async def test_an_unknown_database_is_closed_and_kept(world: World) -> None:
    """Sessions end, nobody gets in, nothing is dropped; and it is said until a person acts."""
    await world.a_life()
    life = await world.a_life()
    database = life.instance.database
    async with await psycopg.AsyncConnection.connect(world.dsn(life), autocommit=True) as tenant:
        await tenant.execute("CREATE TABLE kept (id int)")
        await _forget(world, life)
        assert kinds(await world.reconcile()) == {(DriftKind.UNKNOWN_DATABASE, database, False)}
        await tenant.execute("SELECT FROM kept")
        for _ in range(2):
            report = await world.reconcile(APPLY)
            assert kinds(report) == {(DriftKind.UNKNOWN_DATABASE, database, True)}
            assert not report.clean
        with pytest.raises(psycopg.OperationalError):
            await tenant.execute("SELECT FROM kept")
    assert not await _can_connect(world, life)
    assert await world.ask("SELECT FROM pg_database WHERE datname = %s", database)


async def test_what_was_closed_is_opened_once_it_is_known(world: World) -> None:
    """Recovering gives a quarantined database its record back, and reconciling opens it."""
    await world.a_life()
    life = await world.a_life()
    await _forget(world, life)
    await world.reconcile(APPLY)
    replica = world.replica
    await recover(replica.store, {"alpha": replica.engine}, replica.tags)
    database = life.instance.database
    assert kinds(await world.reconcile()) == {(DriftKind.QUARANTINED, database, False)}
    assert kinds(await world.reconcile(APPLY)) == {(DriftKind.QUARANTINED, database, True)}
    assert kinds(await world.reconcile()) == set()
    assert await _can_connect(world, life)


async def test_periodic_work_gives_the_operator_time(world: World) -> None:
    """Only what has been unknown for a day is closed without a person's order."""
    await world.a_life()
    life = await world.a_life()
    await _forget(world, life)
    for pause in (timedelta(), DAY / 2, DAY / 3):
        world.later(pause)
        assert _state_of(await world.reconcile(PATIENT), DriftKind.UNKNOWN_DATABASE) == [False]
    assert await _can_connect(world, life)
    world.later(DAY / 2)
    assert _state_of(await world.reconcile(PATIENT), DriftKind.UNKNOWN_DATABASE) == [True]
    assert not await _can_connect(world, life)


async def test_what_could_not_be_looked_at_has_waited_all_the_same(world: World) -> None:
    """A look that finds a database locked does not make it wait for another day."""
    await world.a_life()
    life = await world.a_life()
    database = life.instance.database
    await _forget(world, life)
    await world.reconcile(PATIENT)
    world.later(DAY / 2)
    await world.superuser.execute("SELECT pg_advisory_lock(%s)", [lock_key(database)])
    with pytest.MonkeyPatch.context() as impatient:
        impatient.setattr("broker.service.reconcile.PATIENCE", 0.2)
        report = await world.reconcile(PATIENT)
    await world.superuser.execute("SELECT pg_advisory_unlock(%s)", [lock_key(database)])
    assert set(report.skipped) == {database}
    assert await world.replica.store.drift.counts() == {
        ("alpha", DriftKind.UNKNOWN_DATABASE, False): 1
    }
    world.later(DAY / 2)
    assert _state_of(await world.reconcile(PATIENT), DriftKind.UNKNOWN_DATABASE) == [True]


async def test_a_lost_state_closes_nothing(world: World) -> None:
    """When more is unknown than known it is the state that is wrong, unless a person insists."""
    life = await world.a_life()
    await _forget(world, life)
    world.later(2 * DAY)
    report = await world.reconcile(APPLY)
    assert kinds(report) == {
        (DriftKind.UNKNOWN_DATABASE, life.instance.database, False),
        (DriftKind.LOST_STATE, "alpha", False),
    }
    assert await _can_connect(world, life)
    forced = await world.reconcile(Orders(apply=True, force=True))
    assert _state_of(forced, DriftKind.UNKNOWN_DATABASE) == [True]
    assert not await _can_connect(world, life)


async def test_the_last_instance_deleted_during_a_look_is_no_lost_state(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was listed and has gone with its record by then is not unknown: it is not there."""
    life = await world.a_life()
    await world.list_now(monkeypatch)
    await world.replica.carry_out(OperationKind.DEPROVISION, life)
    assert kinds(await world.reconcile()) == set()


async def test_an_unknown_login_is_closed_and_opened_again(world: World) -> None:
    """A login that no binding has is shut out alone; once its binding is known it works again."""
    life = await world.a_life()
    login = life.binding.login
    async with world.replica.store.transaction() as state:
        await remove_binding(state, life.binding.key)
    assert kinds(await world.reconcile()) == {(DriftKind.UNKNOWN_LOGIN, login, False)}
    async with await psycopg.AsyncConnection.connect(world.dsn(life), autocommit=True) as tenant:
        assert kinds(await world.reconcile(APPLY)) == {(DriftKind.UNKNOWN_LOGIN, login, True)}
        with pytest.raises(psycopg.OperationalError):
            await tenant.execute("SELECT 1")
    assert not await _can_connect(world, life)
    assert kinds(await world.reconcile(APPLY)) == {(DriftKind.UNKNOWN_LOGIN, login, True)}
    replica = world.replica
    await recover(replica.store, {"alpha": replica.engine}, replica.tags)
    assert kinds(await world.reconcile(APPLY)) == {(DriftKind.QUARANTINED, login, True)}
    assert await _can_connect(world, life)


async def test_a_half_dropped_database_that_is_unknown_goes(world: World) -> None:
    """Nobody can ever connect to it again, so that dropping the rest loses nothing."""
    await world.a_life()
    life = await world.a_life()
    database = life.instance.database
    await _forget(world, life)
    await world.superuser.execute(
        "UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s", [database]
    )
    assert kinds(await world.reconcile()) == {(DriftKind.HALF_DROPPED, database, False)}
    assert kinds(await world.reconcile(APPLY)) == {(DriftKind.HALF_DROPPED, database, True)}
    assert kinds(await world.reconcile()) == set()
    left = await world.ask(
        "SELECT FROM pg_roles WHERE rolname IN (%s, %s, %s)",
        database,
        life.instance.owner,
        life.binding.login,
    )
    assert left == []


async def test_a_missing_database_is_never_made_again(world: World) -> None:
    """It is an alarm: an empty database would look as if the data had never been."""
    life = await world.a_life()
    database = life.instance.database
    await world.damage_as_broker("DROP DATABASE {} WITH (FORCE)", database)
    for _ in range(2):
        report = await world.reconcile(APPLY)
        assert kinds(report) == {(DriftKind.DATABASE_MISSING, database, False)}
        assert not report.clean
    assert not await world.ask("SELECT FROM pg_database WHERE datname = %s", database)


@pytest.mark.parametrize("status", [Status.CREATING, Status.FAILED, Status.DELETING])
@pytest.mark.parametrize("subject", ["database", "login"])
async def test_what_failed_half_way_is_reported(world: World, status: Status, subject: str) -> None:
    """An instance or binding that nobody is at work on any more is a person's to delete."""
    life = await world.a_life()
    async with world.replica.store.transaction() as state:
        if subject == "database":
            await state.set_instance_status(life.instance.key, status)
        else:
            await state.set_binding_status(life.binding.key, status)
    name = life.instance.database if subject == "database" else life.binding.login
    for _ in range(2):
        report = await world.reconcile(APPLY)
        assert kinds(report) == {(DriftKind.UNFINISHED, name, False)}
        assert not report.clean
    assert await _can_connect(world, life)


@pytest.mark.parametrize(
    ("statement", "kind", "subject"),
    [
        ("ALTER DATABASE {} ALLOW_CONNECTIONS false", DriftKind.CLOSED, "database"),
        ("COMMENT ON DATABASE {} IS 'mine'", DriftKind.FOREIGN, "database"),
        ("ALTER ROLE {} NOLOGIN", DriftKind.CLOSED, "login"),
        ("COMMENT ON ROLE {} IS 'mine'", DriftKind.FOREIGN, "login"),
        ("DROP ROLE {}", DriftKind.ROLE_MISSING, "login"),
    ],
)
async def test_what_a_person_did_is_left_to_a_person(
    world: World, statement: LiteralString, kind: DriftKind, subject: str
) -> None:
    """What was closed, relabelled or dropped past the broker is reported as it is."""
    life = await world.a_life()
    name = life.binding.login if subject == "login" else life.instance.database
    await world.damage(statement, name)
    for _ in range(2):
        report = await world.reconcile(APPLY)
        assert kinds(report) == {(kind, name, False)}
        assert not report.clean


async def test_roles_without_a_database_are_reported(world: World) -> None:
    """What is left of an instance that no record knows is a person's to drop."""
    await world.a_life()
    life = await world.a_life()
    await _forget(world, life)
    await world.damage_as_broker("DROP DATABASE {} WITH (FORCE)", life.instance.database)
    names = {life.instance.database, life.instance.owner, life.binding.login}
    assert kinds(await world.reconcile(APPLY)) == {
        (DriftKind.UNKNOWN_ROLE, name, False) for name in names
    }


async def test_another_brokers_things_are_not_ours_to_judge(world: World) -> None:
    """Tags of keys that are not configured are counted, and touched by nobody."""
    life = await world.a_life()
    await world.damage("COMMENT ON ROLE {} IS 'pgbroker:1:theirs:AAAA'", life.instance.owner)
    report = await world.reconcile(APPLY)
    assert kinds(report) == {(DriftKind.FOREIGN, life.instance.owner, False)}
    assert report.unreadable["theirs"] == 1


async def test_a_server_under_two_names_is_no_drift(world: World) -> None:
    """An instance recorded under one name of its server is known under the other."""
    life = await world.a_life()
    reconciler = world.reconciler
    both = {"alpha": world.replica.engine, "beta": world.replica.engine}
    alpha, beta = await reconcile(replace(reconciler, engines=both), APPLY)
    assert kinds(alpha) == kinds(beta) == set()
    assert (alpha.checked, beta.checked) == (1, 0)
    assert await _can_connect(world, life)


async def test_what_was_found_is_remembered(world: World) -> None:
    """Counts and the time of the last look are there for every replica, until the next look."""
    await world.a_life()
    life = await world.a_life()
    drift = world.replica.store.drift
    assert await drift.looked_at() == {}
    await world.damage_as_broker("DROP DATABASE {} WITH (FORCE)", life.instance.database)
    await world.reconcile()
    assert await drift.counts() == {("alpha", DriftKind.DATABASE_MISSING, False): 1}
    assert await drift.looked_at() == {"alpha": world.now}
    await _forget(world, life)
    world.later(DAY)
    await world.reconcile()
    assert await drift.counts() == {("alpha", DriftKind.UNKNOWN_ROLE, False): 3}
    assert await drift.looked_at() == {"alpha": world.now}
