"""What only a person can put right is told again and again, and the rest is repaired."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest

from broker.domain.catalog import Catalog
from broker.domain.drift import DriftKind
from broker.domain.operation import OperationKind
from broker.postgres.statements import CREATEROLE_CONFINED
from broker.service.reconcile import reconcile
from broker.service.recover import Outcome, recover
from broker.store import EncryptedTags, KeyRing
from tests.integration.postgres.replica import BIG
from tests.integration.reconcile.world import APPLY, World, kinds

if TYPE_CHECKING:
    from tests.integration.postgres.replica import Life

POWERS: list[tuple[str, LiteralString, LiteralString]] = [
    ("u", "ALTER ROLE {} CREATEDB", "ALTER ROLE {} NOCREATEDB"),
    ("u", "ALTER ROLE {} CREATEROLE BYPASSRLS", "ALTER ROLE {} NOCREATEROLE NOBYPASSRLS"),
    ("u", "ALTER ROLE {} SUPERUSER", "ALTER ROLE {} NOSUPERUSER"),
    ("u", "GRANT pg_read_all_data TO {}", "REVOKE pg_read_all_data FROM {}"),
    ("o", "ALTER ROLE {} LOGIN", "ALTER ROLE {} NOLOGIN"),
    ("o", "GRANT pg_read_server_files TO {}", "REVOKE pg_read_server_files FROM {}"),
    ("d", "ALTER ROLE {} LOGIN", "ALTER ROLE {} NOLOGIN"),
]


def names(life: Life) -> dict[str, str]:
    """Return the database, the owner role and the login by letters."""
    instance = life.instance
    return {"d": instance.database, "o": instance.owner, "u": life.binding.login}


@pytest.mark.parametrize(("subject", "give", "take"), POWERS)
async def test_what_somebody_gave_a_role_is_told(
    world: World, subject: str, give: LiteralString, take: LiteralString
) -> None:
    """An attribute or a predefined role that the broker gives to none is a person's matter."""
    life = await world.a_life()
    name = names(life)[subject]
    await world.damage(give, name)
    for orders in ({}, {"orders": APPLY}):
        report = await world.reconcile(**orders)
        assert kinds(report) == {(DriftKind.PRIVILEGED, name, False)}
        assert not report.clean
    await world.damage(take, name)
    assert kinds(await world.reconcile()) == set()


@pytest.mark.parametrize("group", ["d", "o"])
async def test_a_group_role_in_anothers_is_taken_out_or_told(world: World, group: str) -> None:
    """All logins of one database would get into the other."""
    mine, theirs = await world.a_life(), await world.a_life()
    name = names(mine)[group]
    await world.damage("GRANT {} TO {}", theirs.instance.owner, name)
    assert kinds(await world.reconcile()) == {(DriftKind.MEMBERSHIP, name, False)}
    confined = world.postgres.version >= CREATEROLE_CONFINED
    assert kinds(await world.reconcile(APPLY)) == {(DriftKind.MEMBERSHIP, name, not confined)}
    await world.damage("REVOKE {} FROM {}", theirs.instance.owner, name)
    await world.damage_as_broker("GRANT {} TO {}", theirs.instance.owner, name)
    async with await psycopg.AsyncConnection.connect(world.dsn(mine), autocommit=True) as tenant:
        assert kinds(await world.reconcile(APPLY)) == {(DriftKind.MEMBERSHIP, name, True)}
        with pytest.raises(psycopg.OperationalError):
            await tenant.execute("SELECT 1")
    assert kinds(await world.reconcile()) == set()


async def test_a_group_role_that_says_it_is_anothers_is_left_alone(world: World) -> None:
    """Nothing is taken from a role whose comment says that it is somebody else's."""
    mine, theirs = await world.a_life(), await world.a_life()
    owner = mine.instance.owner
    await world.damage_as_broker("GRANT {} TO {}", theirs.instance.owner, owner)
    await world.damage("COMMENT ON ROLE {} IS 'pgbroker:of somebody'", owner)
    found = {(DriftKind.FOREIGN, owner, False), (DriftKind.MEMBERSHIP, owner, False)}
    assert kinds(await world.reconcile(APPLY)) == found
    assert kinds(await world.reconcile()) == found


async def test_a_missing_group_role_is_told_when_the_rest_is_repaired(world: World) -> None:
    """What cannot be repaired without it is told, too, and the status is no good one."""
    life = await world.a_life()
    instance, login = life.instance, life.binding.login
    await world.damage(
        "REASSIGN OWNED BY {} TO pgbroker", instance.owner, database=instance.database
    )
    await world.damage("DROP OWNED BY {}", instance.owner, database=instance.database)
    await world.damage("REVOKE {} FROM {}", instance.owner, login)
    await world.damage("DROP ROLE {}", instance.owner)
    for orders in ({}, {"orders": APPLY}):
        report = await world.reconcile(**orders)
        assert (DriftKind.ROLE_MISSING, instance.owner, False) in kinds(report)
        assert (DriftKind.MEMBERSHIP, login, False) in kinds(report)
        assert not report.clean


async def test_a_database_that_is_anothers_is_told(world: World) -> None:
    """The broker can do nothing with it, whatever its comment says."""
    life = await world.a_life()
    database = life.instance.database
    await world.damage("ALTER DATABASE {} OWNER TO postgres", database)
    for orders in ({}, {"orders": APPLY}):
        report = await world.reconcile(**orders)
        assert kinds(report) == {(DriftKind.FOREIGN, database, False)}
        assert not report.clean
    await world.damage("ALTER DATABASE {} OWNER TO pgbroker", database)
    assert kinds(await world.reconcile()) == set()


async def test_an_older_state_takes_no_plan_back(world: World) -> None:
    """Restored from a backup, it learns from the server what it has missed, and changes nothing."""
    life = await world.a_life()
    instance = life.instance
    await world.replica.carry_out(OperationKind.UPDATE, life)
    before = await world.ask(
        "SELECT datconnlimit FROM pg_database WHERE datname = %s", instance.database
    )
    async with world.replica.store.transaction() as state:
        await state.save_instance(instance)
    for orders in ({}, {"orders": APPLY}):
        report = await world.reconcile(**orders)
        assert kinds(report) == {(DriftKind.OUTDATED_STATE, instance.database, False)}
        assert BIG.id in report.drift[0].deviation.detail
    assert before == await world.ask(
        "SELECT datconnlimit FROM pg_database WHERE datname = %s", instance.database
    )
    replica = world.replica
    recovery = await recover(replica.store, {"alpha": replica.engine}, replica.tags)
    assert {one.outcome for one in recovery.found} == {Outcome.OUTDATED, Outcome.PRESENT}
    assert not recovery.complete
    await world.replica.carry_out(OperationKind.UPDATE, life)
    assert kinds(await world.reconcile()) == set()


async def test_a_plan_that_has_gone_hides_no_database_that_has(world: World) -> None:
    """Without a plan nobody knows the limits, but that the database should be there."""
    life = await world.a_life()
    without = replace(world.reconciler, catalog=Catalog(()))
    (report,) = await reconcile(without, APPLY)
    assert kinds(report) == set()
    await world.damage("DROP DATABASE {} WITH (FORCE)", life.instance.database)
    (report,) = await reconcile(without, APPLY)
    assert kinds(report) == {(DriftKind.DATABASE_MISSING, life.instance.database, False)}


async def test_keys_that_read_nothing_are_no_good_end(world: World) -> None:
    """Nothing can be recovered, and nobody is told that all is well."""
    await world.a_life()
    replica = world.replica
    other = EncryptedTags(KeyRing([("another", secrets.token_bytes(32))]))
    recovery = await recover(replica.store, {"alpha": replica.engine}, other)
    assert recovery.unreadable
    assert recovery.found == []
    assert not recovery.complete
    (report,) = await reconcile(replace(world.reconciler, tags=other), APPLY)
    assert report.skipped
    assert not report.clean


async def test_a_login_that_lost_its_group_can_be_revoked(world: World) -> None:
    """Its comment says that it is the broker's, and it is of no other database."""
    life = await world.a_life()
    await world.damage_as_broker("REVOKE {} FROM {}", life.instance.owner, life.binding.login)
    await world.replica.carry_out(OperationKind.UNBIND, life)
    assert not await world.ask("SELECT FROM pg_roles WHERE rolname = %s", life.binding.login)
