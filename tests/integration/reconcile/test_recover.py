"""A state that was lost, rebuilt from what the servers say."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from broker.domain.database import Access
from broker.domain.instance import Status
from broker.domain.operation import OperationKind
from broker.domain.storage import StorageState
from broker.service.recover import Outcome, RecoveryReport, recover
from broker.store import EncryptedTags, KeyRing
from tests.integration.postgres.replica import BIG
from tests.integration.reconcile.world import World, kinds

if TYPE_CHECKING:
    from broker.domain.instance import Binding, Instance
    from tests.integration.postgres.replica import Life


async def _lose(world: World, *lives: Life) -> None:
    async with world.replica.store.transaction() as state:
        for life in lives or world.lives:
            await state.remove_instance(life.instance.key)


async def _recover(world: World) -> RecoveryReport:
    replica = world.replica
    return await recover(replica.store, {"alpha": replica.engine}, replica.tags)


async def _stored(world: World, life: Life) -> tuple[Instance | None, Binding | None]:
    store = world.replica.store
    return await store.instance(life.instance.key), await store.binding(life.binding.key)


def _outcomes(report: RecoveryReport) -> dict[str, Outcome]:
    return {one.subject: one.outcome for one in report.found}


async def test_instances_and_bindings_come_back(world: World) -> None:
    """Every field but the password is as it was, and nothing on the server has changed.

    Whether they were over their storage limits, the next measurement finds out.
    """
    lives = [await world.a_life(Access.WRITE), await world.a_life(Access.READ)]
    before = [await _stored(world, life) for life in lives]
    await _lose(world)
    report = await _recover(world)
    assert report.complete
    assert set(_outcomes(report).values()) == {Outcome.RECOVERED}
    for life, (instance, binding) in zip(lives, before, strict=True):
        assert instance is not None
        assert binding is not None
        assert await _stored(world, life) == (
            replace(instance, storage=StorageState.RELEASING),
            replace(binding, secret=None),
        )
        async with await psycopg.AsyncConnection.connect(world.dsn(life)) as tenant:
            await tenant.execute("SELECT 1")
    assert kinds(await world.reconcile()) == set()


async def test_an_update_is_remembered_by_the_server(world: World) -> None:
    """What an instance has become since it was made is what comes back."""
    life = await world.a_life()
    await world.replica.carry_out(OperationKind.UPDATE, life)
    before, _ = await _stored(world, life)
    assert before is not None
    assert before.plan_id == BIG.id
    await _lose(world)
    await _recover(world)
    recovered, _ = await _stored(world, life)
    assert recovered == replace(before, storage=StorageState.RELEASING)


async def test_recovering_again_changes_nothing(world: World) -> None:
    """What the state has stays; only what it lacks is added."""
    kept, lost = await world.a_life(), await world.a_life()
    before = await _stored(world, kept)
    await _lose(world, lost)
    outcomes = _outcomes(await _recover(world))
    assert outcomes[kept.instance.database] is outcomes[kept.binding.login] is Outcome.PRESENT
    assert outcomes[lost.instance.database] is outcomes[lost.binding.login] is Outcome.RECOVERED
    assert set(_outcomes(await _recover(world)).values()) == {Outcome.PRESENT}
    assert await _stored(world, kept) == before


async def test_what_was_deleted_since_the_look_does_not_come_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside a replica that runs: whoever deletes takes the record away last."""
    unbound, deleted = await world.a_life(), await world.a_life()
    await world.list_now(monkeypatch)
    await world.replica.carry_out(OperationKind.UNBIND, unbound)
    for kind in (OperationKind.UNBIND, OperationKind.DEPROVISION):
        await world.replica.carry_out(kind, deleted)
    report = await _recover(world)
    assert _outcomes(report) == {unbound.instance.database: Outcome.PRESENT}
    assert (await _stored(world, unbound))[1] is None
    assert await _stored(world, deleted) == (None, None)
    assert kinds(await world.reconcile()) == set()


@pytest.mark.parametrize(
    "statement",
    ["DROP DATABASE {} WITH (FORCE)", "ALTER DATABASE {} ALLOW_CONNECTIONS false"],
)
async def test_what_cannot_be_used_can_only_be_deleted(
    world: World, statement: LiteralString
) -> None:
    """A database that is missing or closed is not made again, empty, by a repeated provision."""
    life = await world.a_life()
    await world.damage_as_broker(statement, life.instance.database)
    await _lose(world)
    assert _outcomes(await _recover(world))[life.instance.database] is Outcome.UNFINISHED
    instance, binding = await _stored(world, life)
    assert instance is not None
    assert binding is not None
    assert instance.status is Status.DELETING
    await world.replica.carry_out(OperationKind.DEPROVISION, replace(life, instance=instance))
    assert await _stored(world, life) == (None, None)
    assert not await world.ask("SELECT FROM pg_roles WHERE rolname = %s", life.binding.login)


async def test_a_login_being_revoked_can_only_be_revoked(world: World) -> None:
    """A role that may not log in any more is not handed out again."""
    life = await world.a_life()
    await world.damage_as_broker("ALTER ROLE {} NOLOGIN", life.binding.login)
    await _lose(world)
    assert _outcomes(await _recover(world))[life.binding.login] is Outcome.UNFINISHED
    _, binding = await _stored(world, life)
    assert binding is not None
    assert binding.status is Status.DELETING


async def test_tags_without_a_record_are_reported(world: World) -> None:
    """What an older version made is named, so that a person can see to it."""
    life = await world.a_life()
    instance, binding = life.instance, life.binding
    tags = world.replica.tags
    await world.superuser.execute(
        SQL("COMMENT ON ROLE {} IS {}").format(
            Identifier(instance.owner), tags.instance(instance.key, "k1")
        )
    )
    await _lose(world)
    report = await _recover(world)
    assert not report.complete
    assert _outcomes(report)[instance.database] is Outcome.NO_RECORD
    assert _outcomes(report)[binding.login] is Outcome.NO_RECORD
    assert await _stored(world, life) == (None, None)


async def test_two_databases_cannot_both_be_an_instance(world: World) -> None:
    """Neither is believed: a person has to say which."""
    life, other = await world.a_life(), await world.a_life()
    tags = world.replica.tags
    comment = f"{tags.instance(life.instance.key, 'k1')} {tags.instance_record(life.instance)}"
    await world.superuser.execute(
        SQL("COMMENT ON ROLE {} IS {}").format(Identifier(other.instance.owner), comment)
    )
    await _lose(world)
    outcomes = _outcomes(await _recover(world))
    assert outcomes[life.instance.database] is Outcome.CONFLICT
    assert outcomes[other.instance.database] is Outcome.CONFLICT
    assert await _stored(world, life) == (None, None)


async def test_without_the_keys_there_is_nothing_to_recover(world: World) -> None:
    """The keys are what must survive; what they are called can be read without them."""
    life = await world.a_life()
    await _lose(world)
    others = EncryptedTags(KeyRing([("k2", secrets.token_bytes(32))]))
    report = await recover(world.replica.store, {"alpha": world.replica.engine}, others)
    assert report.found == []
    assert report.unreadable["k1"] >= 3
    assert await _stored(world, life) == (None, None)


async def test_a_server_under_two_names_is_recovered_once(world: World) -> None:
    """The name that the record has wins, whatever the order."""
    life = await world.a_life()
    await _lose(world)
    replica = world.replica
    engines = {"beta": replica.engine, "alpha": replica.engine}
    report = await recover(replica.store, engines, replica.tags)
    assert [one.server for one in report.found] == ["alpha", "alpha"]
    instance, _ = await _stored(world, life)
    assert instance is not None
    assert instance.server == "alpha"


async def test_a_recovered_instance_lives_on(world: World) -> None:
    """Bind, unbind and deprovision need nothing that was lost."""
    life = await world.a_life()
    await _lose(world)
    await _recover(world)
    instance, binding = await _stored(world, life)
    assert instance is not None
    assert binding is not None
    recovered = replace(life, instance=instance, binding=binding)
    await world.replica.carry_out(OperationKind.UNBIND, recovered)
    await world.replica.carry_out(OperationKind.DEPROVISION, recovered)
    assert await _stored(world, life) == (None, None)
    assert not await world.ask("SELECT FROM pg_database WHERE datname = %s", instance.database)
