"""Undelete, where its process dies or its plan is gone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from broker.domain.catalog import Catalog
from broker.domain.deleted import Stage
from broker.domain.errors import NotFound, Unprocessable
from broker.domain.instance import InstanceKey, Status
from broker.domain.operation import Caller, Operation, OperationKind, Work
from broker.service.deleted import attach
from broker.service.undelete import undelete
from tests.acceptance.deleted.kept import deleted_with_data, word_of
from tests.support.faults_waiting import until
from tests.support.platform import new_id

if TYPE_CHECKING:
    from broker.bootstrap.assembly import Wiring
    from tests.support.platform import Platform


async def test_it_goes_on_when_its_process_dies(kubernetes: Platform, wiring: Wiring) -> None:
    """What a command has recorded and not done is done by a serving replica."""
    source, _ = deleted_with_data(kubernetes, "orphaned")
    key = InstanceKey("kubernetes", source)
    deleted = await wiring.store.deleted.retained(key)
    assert deleted is not None
    broker = wiring.broker
    operation = Operation(
        id=uuid4(),
        kind=OperationKind.PROVISION,
        instance=key,
        caller=Caller("kubernetes", "a command that died"),
        lease_token=uuid4(),
        started_at=broker.clock(),
    )
    instance = deleted.revived(tag_key_id=broker.tag_key_id)
    dying = replace(broker, lease=-broker.lease)
    async with wiring.store.transaction() as state:
        assert await attach(dying, state, deleted, Work(operation, instance)) is not None

    async def back() -> bool:
        found = await wiring.store.instance(key)
        return found is not None and found.status is Status.READY

    await until(back, what="the instance is back")
    assert await wiring.store.deleted.find(deleted.id) is None
    assert word_of(kubernetes.credentials(source, new_id())) == "orphaned"


async def test_a_plan_that_is_gone_is_refused(kubernetes: Platform, wiring: Wiring) -> None:
    """Nothing is recorded for an instance that could not be finished; the data stays kept."""
    source, _ = deleted_with_data(kubernetes, "planless")
    deleted = await wiring.store.deleted.retained(InstanceKey("kubernetes", source))
    assert deleted is not None
    without = replace(wiring.broker, catalog=Catalog(()))
    with pytest.raises(Unprocessable, match="is no longer in the catalog"):
        await undelete(without, deleted.id)
    assert await wiring.store.deleted.find(deleted.id) == deleted
    assert await wiring.store.instance(deleted.instance.key) is None


async def test_what_is_not_kept_or_on_the_move_is_refused(
    kubernetes: Platform, wiring: Wiring
) -> None:
    """The refusal says what is happening to it, and changes nothing."""
    with pytest.raises(NotFound, match="pgbroker instances deleted"):
        await undelete(wiring.broker, uuid4())
    source, _ = deleted_with_data(kubernetes, "moving")
    deleted = await wiring.store.deleted.retained(InstanceKey("kubernetes", source))
    assert deleted is not None
    for stage, words in (
        (Stage.DELETING, "is still being deleted"),
        (Stage.RESTORING, "is being restored as the instance another"),
    ):
        moving = deleted.moved(stage, attached="another")
        async with wiring.store.transaction() as state:
            await state.deleted.save(moving)
        with pytest.raises(Unprocessable, match=words):
            await undelete(wiring.broker, deleted.id)
        assert await wiring.store.deleted.find(deleted.id) == moving
    async with wiring.store.transaction() as state:
        await state.deleted.save(deleted)
