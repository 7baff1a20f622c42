"""What is not as it should be, and can be put right."""

from __future__ import annotations

from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from broker.domain.database import Access
from broker.domain.drift import DriftKind
from broker.domain.instance import Status
from broker.domain.operation import OperationKind
from broker.postgres.statements import CREATEROLE_CONFINED
from tests.integration.reconcile.world import APPLY, World, kinds

if TYPE_CHECKING:
    from tests.integration.postgres.replica import Life


def _names(life: Life) -> dict[str, str]:
    instance = life.instance
    return {"d": instance.database, "o": instance.owner, "u": life.binding.login}


DAMAGES: list[tuple[DriftKind, str, LiteralString, str]] = [
    (DriftKind.LIMITS, "d", "ALTER DATABASE {} CONNECTION LIMIT 77", "d"),
    (DriftKind.LIMITS, "d", "ALTER DATABASE {} SET statement_timeout = '2h'", "d"),
    (DriftKind.LIMITS, "o", "ALTER ROLE {} CONNECTION LIMIT 77", "o"),
    (DriftKind.GRANTS, "d", "GRANT CONNECT ON DATABASE {} TO PUBLIC", "d"),
    (DriftKind.GRANTS, "d", "REVOKE CREATE ON DATABASE {} FROM {}", "do"),
    (DriftKind.GRANTS, "d", "REVOKE CONNECT ON DATABASE {} FROM {}", "dd"),
    (DriftKind.GRANTS, "d", "GRANT CONNECT ON DATABASE {} TO {}", "du"),
    (DriftKind.MEMBERSHIP, "u", "REVOKE {} FROM {}", "ou"),
    (DriftKind.LOGIN, "u", "ALTER ROLE {} CONNECTION LIMIT 77", "u"),
    (DriftKind.LOGIN, "u", "ALTER ROLE {} VALID UNTIL '2020-01-01'", "u"),
    (DriftKind.COMMENT, "d", "COMMENT ON DATABASE {} IS NULL", "d"),
    (DriftKind.COMMENT, "d", "COMMENT ON ROLE {} IS NULL", "d"),
    (DriftKind.COMMENT, "o", "COMMENT ON ROLE {} IS NULL", "o"),
    (DriftKind.COMMENT, "u", "COMMENT ON ROLE {} IS NULL", "u"),
]


async def test_what_is_as_it_should_be_is_left_alone(world: World) -> None:
    """A server that the broker alone has worked on has no drift, whatever its bindings may do."""
    await world.a_life(Access.WRITE)
    await world.a_life(Access.READ)
    updated = await world.a_life()
    await world.replica.carry_out(OperationKind.UPDATE, updated)
    report = await world.reconcile()
    assert kinds(report) == set()
    assert report.checked == 3
    assert report.clean


@pytest.mark.parametrize(("kind", "subject", "statement", "names"), DAMAGES)
async def test_damage_is_found_and_repaired(
    world: World, kind: DriftKind, subject: str, statement: LiteralString, names: str
) -> None:
    """Without orders it is reported and left; with them it is repaired, for good."""
    life = await world.a_life()
    named = _names(life)
    await world.damage_as_broker(statement, *(named[name] for name in names))
    for _ in range(2):
        assert kinds(await world.reconcile()) == {(kind, named[subject], False)}
    report = await world.reconcile(APPLY)
    assert kinds(report) == {(kind, named[subject], True)}
    assert report.clean
    assert kinds(await world.reconcile()) == set()
    async with await psycopg.AsyncConnection.connect(world.dsn(life)) as tenant:
        await tenant.execute("CREATE TABLE works (id int)")


async def test_everything_at_once_is_repaired_at_once(world: World) -> None:
    """No repair gets into the way of another."""
    life = await world.a_life()
    named = _names(life)
    expected = set()
    for kind, subject, statement, names in DAMAGES:
        if kind is not DriftKind.COMMENT:
            await world.damage_as_broker(statement, *(named[name] for name in names))
            expected.add((kind, named[subject], True))
    assert kinds(await world.reconcile(APPLY)) == expected
    assert kinds(await world.reconcile()) == set()


async def test_read_only_defaults_are_restored(world: World) -> None:
    """What is made after the repair can be read, and so can what was made before it."""
    life = await world.a_life(Access.READ)
    database, owner = life.instance.database, life.instance.owner
    await world.damage(
        "ALTER DEFAULT PRIVILEGES FOR ROLE {} REVOKE SELECT ON TABLES FROM {}",
        owner,
        database,
        database=database,
    )
    await world.damage("CREATE TABLE public.before (id int)", database=database)
    await world.damage("ALTER TABLE public.before OWNER TO {}", owner, database=database)
    assert kinds(await world.reconcile()) == {(DriftKind.READING, database, False)}
    assert kinds(await world.reconcile(APPLY)) == {(DriftKind.READING, database, True)}
    await world.damage("CREATE TABLE public.after (id int)", database=database)
    await world.damage("ALTER TABLE public.after OWNER TO {}", owner, database=database)
    assert kinds(await world.reconcile()) == {(DriftKind.READING, database, False)}
    async with await psycopg.AsyncConnection.connect(world.dsn(life)) as tenant:
        await tenant.execute("SELECT FROM public.before")


async def test_a_read_only_login_that_writes_is_stopped(world: World) -> None:
    """A wrong membership is taken away together with the sessions that have its rights."""
    life = await world.a_life(Access.READ)
    login, owner = life.binding.login, life.instance.owner
    await world.damage_as_broker("GRANT {} TO {}", owner, login)
    async with await psycopg.AsyncConnection.connect(world.dsn(life), autocommit=True) as tenant:
        await tenant.execute("SET default_transaction_read_only = off")
        await tenant.execute("CREATE TABLE public.gained (id int)")
        assert kinds(await world.reconcile(APPLY)) == {
            (DriftKind.MEMBERSHIP, login, True),
        }
        with pytest.raises(psycopg.OperationalError):
            await tenant.execute("SELECT 1")
    async with await psycopg.AsyncConnection.connect(world.dsn(life), autocommit=True) as tenant:
        await tenant.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await tenant.execute("CREATE TABLE public.again (id int)")


async def test_what_a_superuser_granted_is_left_to_one(world: World) -> None:
    """A membership that the broker cannot end stays reported, and disconnects nobody in vain."""
    life, other = await world.a_life(), await world.a_life()
    login = life.binding.login
    await world.damage("GRANT {} TO {}", other.instance.database, login)
    async with await psycopg.AsyncConnection.connect(world.dsn(life), autocommit=True) as tenant:
        report = await world.reconcile(APPLY)
        confined = world.postgres.version >= CREATEROLE_CONFINED
        assert kinds(report) == {(DriftKind.MEMBERSHIP, login, not confined)}
        assert report.clean is not confined
        if confined:
            await tenant.execute("SELECT 1")


async def test_repairs_leave_a_tenants_own_password_alone(world: World) -> None:
    """A tenant may change its password, and no repair of its login undoes that."""
    life = await world.a_life()
    login = life.binding.login
    async with await psycopg.AsyncConnection.connect(world.dsn(life), autocommit=True) as tenant:
        await tenant.execute("SET ROLE NONE")
        await tenant.execute(SQL("ALTER ROLE {} PASSWORD 'my-own'").format(Identifier(login)))
    await world.damage("ALTER ROLE {} CONNECTION LIMIT 77", login)
    assert kinds(await world.reconcile(APPLY)) == {(DriftKind.LOGIN, login, True)}
    own = world.postgres.dsn(login, "my-own", life.instance.database)
    async with await psycopg.AsyncConnection.connect(own) as tenant:
        await tenant.execute("SELECT 1")


async def test_a_drop_that_was_asked_for_is_completed(world: World) -> None:
    """A database that was dropped by half while its instance was deleted goes, with its roles.

    That its platform has not heard of it remains to be said.
    """
    life = await world.a_life()
    database = life.instance.database
    async with world.replica.store.transaction() as state:
        await state.set_instance_status(life.instance.key, Status.DELETING)
    await world.superuser.execute(
        "UPDATE pg_database SET datconnlimit = -2 WHERE datname = %s", [database]
    )
    unfinished = (DriftKind.UNFINISHED, database, False)
    assert kinds(await world.reconcile()) == {(DriftKind.HALF_DROPPED, database, False), unfinished}
    report = await world.reconcile(APPLY)
    assert kinds(report) == {(DriftKind.HALF_DROPPED, database, True), unfinished}
    names = [database, life.instance.owner, life.binding.login]
    assert not await world.ask("SELECT FROM pg_database WHERE datname = %s", database)
    for name in names:
        assert not await world.ask("SELECT FROM pg_roles WHERE rolname = %s", name)
    assert kinds(await world.reconcile()) == {unfinished}


async def test_what_is_in_progress_is_not_drift(world: World) -> None:
    """Neither what an operation has recorded nor what it is about to do is touched."""
    life = await world.a_life()
    await world.replica.record(OperationKind.UPDATE, life)
    await world.damage("ALTER DATABASE {} CONNECTION LIMIT 77", life.instance.database)
    report = await world.reconcile(APPLY)
    assert kinds(report) == set()
    assert report.skipped == {life.instance.database: "An operation is in progress."}
    limit = await world.ask(
        "SELECT datconnlimit FROM pg_database WHERE datname = %s", life.instance.database
    )
    assert limit == [(77,)]


async def test_a_database_that_is_made_again_by_hand_is_fenced_and_opened(world: World) -> None:
    """An operator who restores one from a dump makes it, empty; the rest is put right."""
    life = await world.a_life()
    name = life.instance.database
    await world.damage("DROP DATABASE {} WITH (FORCE)", name)
    assert kinds(await world.reconcile(APPLY)) == {(DriftKind.DATABASE_MISSING, name, False)}
    await world.damage_as_broker("CREATE DATABASE {} TEMPLATE template0", name)
    await world.damage("ALTER SCHEMA public OWNER TO {}", life.instance.owner, database=name)
    assert (await world.reconcile(APPLY)).clean
    assert kinds(await world.reconcile()) == set()
    async with await psycopg.AsyncConnection.connect(world.dsn(life)) as application:
        await application.execute("CREATE TABLE t AS SELECT 1 AS a")
    acl = "SELECT datacl::text FROM pg_database WHERE datname = %s"
    assert "{=" not in str(await world.ask(acl, name))
