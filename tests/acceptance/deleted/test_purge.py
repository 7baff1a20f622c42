"""Dropping what is kept when its time has passed."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from broker.domain.deleted import Stage
from broker.domain.errors import NotFound, Unprocessable
from broker.domain.instance import InstanceKey
from broker.operations.purge import Purge
from broker.service.undelete import begin_purge, undelete
from broker.store import EncryptedTags
from tests.acceptance.deleted.kept import deleted_with_data, with_data
from tests.support.platform import can_connect, new_id

if TYPE_CHECKING:
    from broker.bootstrap.assembly import Wiring
    from broker.domain.deleted import DeletedInstance
    from tests.acceptance.deleted.kept import Server
    from tests.support.application import Application
    from tests.support.platform import Platform


def _purge(wiring: Wiring, application: Application, *, later: timedelta) -> Purge:
    """Return the periodic work of a time that has not come yet."""
    now = wiring.broker.clock
    broker = replace(wiring.broker, clock=lambda: now() + later)
    return Purge(broker, EncryptedTags(application.keys))


async def _deleted(wiring: Wiring, instance: str) -> DeletedInstance:
    deleted = await wiring.store.deleted.retained(InstanceKey("kubernetes", instance))
    assert deleted is not None
    return deleted


async def test_it_is_dropped_on_time_and_not_before(
    kubernetes: Platform, server: Server, wiring: Wiring, application: Application
) -> None:
    """A minute before the end it is there; a minute after, database, roles and record are gone."""
    instance, credentials = deleted_with_data(kubernetes, "due")
    living, kept = with_data(kubernetes, "living")
    name = credentials["database"]
    deleted = await _deleted(wiring, instance)
    week, minute = timedelta(days=7), timedelta(minutes=1)
    await _purge(wiring, application, later=week - minute).due()
    assert await wiring.store.deleted.find(deleted.id) == deleted
    assert server.databases(f"{name}_deleted") == [f"{name}_deleted"]
    for _ in range(2):
        await _purge(wiring, application, later=week + minute).due()
        assert await wiring.store.deleted.find(deleted.id) is None
        assert server.databases(name, f"{name}_deleted") == []
        assert server.roles(name, f"{name}_owner") == {}
    assert can_connect(kept)
    assert kubernetes.fetch(living).status_code == 200
    refused = kubernetes.provision(new_id(), parameters={"restore_from_instance": instance})
    assert refused.status_code == 400


async def test_what_was_marked_is_dropped_whoever_marked_it(
    kubernetes: Platform, server: Server, wiring: Wiring, application: Application
) -> None:
    """A process that died after marking leaves its work to the next, and it is never restored."""
    instance, credentials = deleted_with_data(kubernetes, "marked")
    deleted = await _deleted(wiring, instance)
    await begin_purge(wiring.broker, deleted.id)
    refused = kubernetes.provision(new_id(), parameters={"restore_from_instance": instance})
    assert refused.status_code == 400
    with pytest.raises(Unprocessable, match="is being dropped for good"):
        await undelete(wiring.broker, deleted.id)
    await _purge(wiring, application, later=timedelta(0)).due()
    assert await wiring.store.deleted.find(deleted.id) is None
    assert server.databases(f"{credentials['database']}_deleted") == []


async def test_what_is_on_the_move_is_not_dropped(
    kubernetes: Platform, wiring: Wiring, application: Application
) -> None:
    """While it is restored or deleted still, its time does not count, and nobody can mark it."""
    instance, _ = deleted_with_data(kubernetes, "moving")
    deleted = await _deleted(wiring, instance)
    for stage in (Stage.RESTORING, Stage.DELETING):
        async with wiring.store.transaction() as state:
            await state.deleted.save(deleted.moved(stage, attached="another"))
        await _purge(wiring, application, later=timedelta(days=8)).due()
        found = await wiring.store.deleted.find(deleted.id)
        assert found is not None
        assert found.stage is stage
        with pytest.raises(Unprocessable, match="Nothing has been changed"):
            await begin_purge(wiring.broker, deleted.id)
    async with wiring.store.transaction() as state:
        await state.deleted.save(deleted)
    await wiring.purge.one(deleted)
    with pytest.raises(NotFound):
        await wiring.purge.one(deleted)


async def test_one_that_cannot_be_dropped_stops_no_other(
    kubernetes: Platform, server: Server, wiring: Wiring, application: Application
) -> None:
    """A server that is gone from the servers file, and a foreign tag, are passed over."""
    gone, foreign, good = (deleted_with_data(kubernetes, word) for word in ("gone", "f", "good"))
    async with wiring.store.transaction() as state:
        lost = await _deleted(wiring, gone[0])
        await state.deleted.remove(lost.id)
        removed = replace(lost, instance=replace(lost.instance, server="a server that was"))
        await state.deleted.add(removed)
    name = f"{foreign[1]['database']}_deleted"
    comment = server.connection.execute(
        "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s", [name]
    ).fetchone()
    assert comment is not None
    server.connection.execute(f"COMMENT ON DATABASE {name} IS 'somebody else''s'".encode())
    await _purge(wiring, application, later=timedelta(days=8)).due()
    left = {deleted.instance.key.instance_id for deleted in await wiring.store.deleted.listed()}
    assert {gone[0], foreign[0]} <= left
    assert good[0] not in left
    assert server.databases(name) == [name]
    server.connection.execute(f"COMMENT ON DATABASE {name} IS '{comment[0]}'".encode())
    async with wiring.store.transaction() as state:
        await state.deleted.remove(lost.id)
        await state.deleted.add(lost.moved(Stage.PURGING))
    await wiring.purge.due()
    assert server.databases(name, f"{gone[1]['database']}_deleted") == []
