"""Records of deleted instances, and their tags."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from broker.domain.deleted import DeletedInstance, Stage
from broker.domain.instance import Instance, InstanceKey, Status
from broker.store import EncryptedTags, KeyRing
from broker.store.errors import EncryptionKeyMissing
from tests.integration.store.records import a_key, an_instance

if TYPE_CHECKING:
    from broker.store import PostgresStore

NOW = datetime.now(UTC)


def _deleted(instance: Instance | None = None, **changes: Any) -> DeletedInstance:
    deleted = DeletedInstance(
        id=uuid4(),
        instance=replace(instance or an_instance(), status=Status.READY),
        deleted_at=NOW,
        purge_at=NOW + timedelta(days=7),
        stage=Stage.RETAINED,
    )
    return replace(deleted, **changes)


async def _add(store: PostgresStore, *deleted: DeletedInstance) -> None:
    async with store.transaction() as state:
        for one in deleted:
            await state.deleted.add(one)


async def test_a_deleted_instance_comes_back_whole(store: PostgresStore) -> None:
    """Every field of it and of what it was survives, until it is removed."""
    deleted = _deleted()
    await _add(store, deleted)
    assert await store.deleted.find(deleted.id) == deleted
    assert await store.deleted.listed() == [deleted]
    moved = deleted.moved(Stage.RESTORING, attached="new")
    async with store.transaction() as state:
        assert await state.deleted.lock(deleted.id) == deleted
        await state.deleted.save(moved)
    async with store.transaction() as state:
        key = InstanceKey(deleted.instance.key.platform, "new")
        assert await state.deleted.attached(key) == moved
        assert await state.deleted.attached(deleted.instance.key) is None
        await state.deleted.remove(deleted.id)
    assert await store.deleted.find(deleted.id) is None


async def test_the_newest_retained_one_of_an_id_is_found(store: PostgresStore) -> None:
    """Neither an older one, nor one that is on the move, nor another platform's."""
    key = a_key()
    older = _deleted(an_instance(key), deleted_at=NOW - timedelta(hours=1))
    newer = _deleted(an_instance(key))
    moving = _deleted(
        an_instance(key),
        deleted_at=NOW + timedelta(hours=1),
        stage=Stage.DELETING,
        attached=key.instance_id,
    )
    foreign = _deleted(
        an_instance(InstanceKey("another", key.instance_id)), deleted_at=NOW + timedelta(hours=2)
    )
    await _add(store, older, newer, moving, foreign)
    assert await store.deleted.retained(key) == newer
    assert await store.deleted.retained(a_key()) is None


async def test_what_is_due_is_found_for_each_server(store: PostgresStore) -> None:
    """The longest overdue of each server, what was marked before, and nothing on the move."""
    past = NOW - timedelta(days=1)
    overdue = [
        _deleted(an_instance(server=server), purge_at=past - timedelta(hours=hours))
        for server in ("alpha", "beta")
        for hours in range(3)
    ]
    marked = _deleted(an_instance(server="gamma"), stage=Stage.PURGING)
    others = (
        _deleted(an_instance(server="gamma")),
        _deleted(an_instance(server="gamma"), purge_at=past, stage=Stage.RESTORING, attached="x"),
    )
    await _add(store, *overdue, marked, *others)
    due = await store.deleted.due(NOW, per_server=2)
    expected = {overdue[1].id, overdue[2].id, overdue[4].id, overdue[5].id, marked.id}
    assert {deleted.id for deleted in due} == expected


async def test_it_is_counted_once(store: PostgresStore) -> None:
    """A kept database counts on its server; on the move, its instance record counts instead."""
    instance = an_instance()
    kept = _deleted(instance)
    await _add(store, kept, _deleted(an_instance(server="beta")))

    async def counted() -> dict[str, int]:
        return {
            placed.server: placed.databases for placed in (await store.servers.occupancy()).placed
        }

    assert await counted() == {"alpha": 1, "beta": 1}
    async with store.transaction() as state:
        await state.add_instance(instance)
        await state.deleted.save(kept.moved(Stage.RESTORING, attached=instance.key.instance_id))
    assert await counted() == {"alpha": 1, "beta": 1}


@pytest.mark.parametrize("stage", [Stage.RESTORING, Stage.DELETING])
async def test_both_plans_count_until_a_restore_is_over(store: PostgresStore, stage: Stage) -> None:
    """If it ends early, the data is kept under its former plan again: nobody may have its room."""
    former = an_instance()
    new = replace(former, key=InstanceKey(former.key.platform, str(uuid4())), plan_id="smaller")
    deleted = _deleted(former)
    await _add(store, deleted, _deleted())
    async with store.transaction() as state:
        await state.add_instance(new)
        await state.deleted.save(deleted.moved(stage, attached=new.key.instance_id))
    counted: dict[str, tuple[int, int]] = {}
    for placed in (await store.servers.occupancy()).placed:
        databases, promises = counted.get(placed.plan_id, (0, 0))
        counted[placed.plan_id] = databases + placed.databases, promises + placed.promises
    # The former plan has the other deleted instance besides.
    assert counted == {"smaller": (1, 1), "plan": (1, 2)}


async def test_its_key_must_stay_configured(store: PostgresStore) -> None:
    """A broker without the key of a kept database's tag does not start."""
    await _add(store, _deleted(an_instance(tag_key_id="missing")))
    with pytest.raises(EncryptionKeyMissing, match="missing"):
        await store.verify_keys()


def test_tag_and_record_come_back() -> None:
    """The tag tells which deletion it is, the record all of it; no other tag reads like it."""
    tags = EncryptedTags(KeyRing([("k1", secrets.token_bytes(32))]))
    deleted = _deleted()
    tag = tags.deleted(deleted.key, "k1")
    comment = f"{tag} {tags.deleted_record(deleted)}"
    assert tags.open(tag) == tags.open(comment) == deleted.key
    assert tags.recover_deleted(comment, database=deleted.instance.database) == deleted
    assert tags.recover_instance(comment, database=deleted.instance.database) is None
    assert tags.recover_binding(comment, login="u") is None
    instance = deleted.instance
    other = f"{tags.instance(instance.key, 'k1')} {tags.instance_record(instance)}"
    assert tags.recover_deleted(other, database=instance.database) is None
    assert tags.recover_deleted(tag, database=instance.database) is None
