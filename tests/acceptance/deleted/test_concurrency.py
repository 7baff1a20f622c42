"""Requests for the same deleted instance at the same moment."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker.domain.instance import InstanceKey
from tests.acceptance.deleted.kept import deleted_with_data, word_of
from tests.support.platform import new_id

if TYPE_CHECKING:
    import httpx

    from broker.store import PostgresStore
    from tests.support.platform import Platform


async def _at_once(platform: Platform, source: str, *instances: str) -> list[httpx.Response]:
    parameters = {"restore_from_instance": source}
    return await asyncio.gather(
        *(
            asyncio.to_thread(platform.provision, instance, parameters=parameters)
            for instance in instances
        )
    )


async def test_data_is_given_to_one_of_many(kubernetes: Platform) -> None:
    """Of several new instances that ask at once, one gets the data, and the others a refusal."""
    source, _ = deleted_with_data(kubernetes, "contested")
    instances = [new_id() for _ in range(6)]
    answers = await _at_once(kubernetes, source, *instances)
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [201, *[400] * 5]
    winner = instances[[answer.status_code for answer in answers].index(201)]
    assert word_of(kubernetes.credentials(winner, new_id())) == "contested"


async def test_the_same_request_many_times_is_one_restore(kubernetes: Platform) -> None:
    """Every copy of the request is answered with what the first one does."""
    source, _ = deleted_with_data(kubernetes, "twins")
    instance = new_id()
    answers = await _at_once(kubernetes, source, *[instance] * 6)
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert word_of(kubernetes.credentials(instance, new_id())) == "twins"


async def test_a_deletion_at_the_same_moment_loses_nothing(
    kubernetes: Platform, store: PostgresStore
) -> None:
    """Whoever comes first, the data is kept in the end, once, and can be restored."""
    source, credentials = deleted_with_data(kubernetes, "crossing")
    instance = new_id()
    parameters = {"restore_from_instance": source}
    made = asyncio.create_task(
        asyncio.to_thread(kubernetes.provision, instance, parameters=parameters)
    )
    gone = await asyncio.to_thread(kubernetes.deprovision, instance)
    await made
    if gone.status_code == 410:
        assert kubernetes.deprovision(instance).status_code == 200
    assert await store.instance(InstanceKey("kubernetes", instance)) is None
    (kept,) = (
        deleted
        for deleted in await store.deleted.listed()
        if deleted.instance.database == credentials["database"]
    )
    again = new_id()
    parameters = {"restore_from_instance": kept.instance.key.instance_id}
    assert kubernetes.provision(again, parameters=parameters).status_code == 201
    assert word_of(kubernetes.credentials(again, new_id())) == "crossing"
