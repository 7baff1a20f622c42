"""Databases of the warm stock that a finished instance was given: tagged as its own afterwards."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from broker.domain.credentials import generate_login_secret
from broker.domain.database import Access
from broker.domain.errors import TemporaryFailure
from broker.domain.instance import BindingKey, InstanceKey, Status
from broker.domain.names import login_name
from broker.domain.operation import OperationKind
from broker.domain.warm import Location, WarmState
from tests.integration.postgres.depot import LONG_AGO, PLAN, Depot, depot, deprovisioned
from tests.integration.postgres.tenants import rows
from tests.support.state import migrated_template, state_dsn
from tests.unit.domain import examples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.domain.instance import Binding, Instance
    from tests.support.postgres import PostgresServer

__all__ = ["depot", "migrated_template", "state_dsn"]

THERE = "SELECT datname FROM pg_database WHERE datname = %s"


def an_instance() -> Instance:
    """Return an instance that wants what a database of the stock is."""
    key = InstanceKey("kubernetes", str(uuid4()))
    return replace(examples.INSTANCE, key=key, parameters={}, extensions=("citext",))


def a_binding(instance: Instance) -> Binding:
    """Return a binding of an instance that is about to be made."""
    return replace(
        examples.BINDING,
        key=BindingKey(instance.key, "app"),
        login=login_name(),
        access=Access.WRITE,
        secret=generate_login_secret(),
    )


@pytest.fixture
async def given(depot: Depot) -> AsyncIterator[Instance]:
    """Return an instance that was given a database; the stock is not refilled for it."""
    await depot.stock.keep()
    wanted = an_instance()
    assert await depot.hand_over(wanted) is not None
    given = await depot.store.instance(wanted.key)
    assert given is not None
    yield given
    await depot.do(OperationKind.DEPROVISION, given)
    await _forget(depot, given)


async def _forget(depot: Depot, instance: Instance) -> None:
    async with depot.store.transaction() as state:
        await state.remove_instance(instance.key)
    await depot.stock.keep()
    assert await depot.on_server([instance.database]) == set()


async def whose(depot: Depot, instance: Instance) -> str:
    """Return whose a database and its roles say they are: the stock's, or the instance's."""
    database, group, owner = await depot.comments(instance.database)
    tag = depot.tags.instance(instance.key, "k1")
    if {database, group} == {tag}:
        assert owner.startswith(tag)
        assert depot.tags.recover_instance(owner, database=instance.database) is not None
        return "the instance's"
    assert database == group == owner
    return "the stock's"


async def test_a_finished_instance_gets_a_finished_database(depot: Depot, given: Instance) -> None:
    """It is recorded as ready, at a place of the stock, before anything happens on the server."""
    assert given.status is Status.READY
    assert given.owner == f"{given.database}_owner"
    assert given.database in await depot.there()
    assert await depot.states() == [WarmState.CLAIMED, WarmState.READY]
    assert await whose(depot, given) == "the stock's"


async def test_it_says_whose_it_is_soon_after(
    depot: Depot, given: Instance, postgres: PostgresServer
) -> None:
    """Tagged like one that was made for it, and like it in all else; the stock is full again."""
    await depot.stock.refill()
    assert await whose(depot, given) == "the instance's"
    assert await depot.states() == [WarmState.READY] * 2
    made = await depot.provision(Location("alpha", f"d{uuid4().hex[:16]}"))
    async with deprovisioned(depot, made):
        assert await depot.shape(given, postgres) == await depot.shape(made, postgres)


async def test_the_stock_has_it_no_more(depot: Depot, given: Instance) -> None:
    """What an instance has is not counted twice, and neither yielded nor dropped."""
    async with depot.store.transaction() as state:
        occupancy = await state.occupancy(exclusively=True)
    assert sum(placed.databases for placed in occupancy.placed) == 2
    assert await depot.another(PLAN, capacity=2).make_room(PLAN)
    assert not await depot.another(PLAN, capacity=1).make_room(PLAN)
    assert await depot.states() == [WarmState.CLAIMED]
    await depot.run(LONG_AGO)
    await depot.another(replace(PLAN, warm=0)).keep()
    assert await depot.states() == []
    assert await depot.on_server([given.database]) == {given.database}


@pytest.mark.parametrize("kind", [OperationKind.BIND, OperationKind.UPDATE])
async def test_whatever_works_on_it_first_tags_it(
    depot: Depot, given: Instance, kind: OperationKind
) -> None:
    """Nobody has credentials for a database that says it is nobody's."""
    binding = a_binding(given)
    bindings = (binding,) if kind is OperationKind.BIND else ()
    await depot.do(kind, given, *bindings)
    assert await whose(depot, given) == "the instance's"
    await depot.stock.keep()
    assert await whose(depot, given) == "the instance's"
    await depot.do(OperationKind.UNBIND, given, binding)


async def test_what_is_in_use_is_never_made_anew(depot: Depot, given: Instance) -> None:
    """A database that was tagged, and is missing, is an alarm: not an empty one in its place."""
    await depot.do(OperationKind.PROVISION, given)
    await depot.superuser.execute(f'DROP DATABASE "{given.database}"'.encode())
    await depot.stock.keep()
    assert await depot.states() == [WarmState.READY] * 2
    assert await rows(depot.superuser, THERE, given.database) == []


async def test_what_an_operator_has_dropped_before_is_made(depot: Depot, given: Instance) -> None:
    """One that nobody can have been in is made for its instance, as by any provision."""
    await depot.superuser.execute(f'DROP DATABASE "{given.database}"'.encode())
    await depot.stock.keep()
    assert await whose(depot, given) == "the instance's"


async def test_a_bind_waits_for_what_is_made_anew(depot: Depot, given: Instance) -> None:
    """Quicker than the background, it takes nothing for used that nobody has been in."""
    binding = a_binding(given)
    await depot.superuser.execute(f'DROP DATABASE "{given.database}"'.encode())
    with pytest.raises(TemporaryFailure, match="put right"):
        await depot.do(OperationKind.BIND, given, binding)
    await depot.stock.keep()
    await depot.do(OperationKind.BIND, given, binding)
    assert await whose(depot, given) == "the instance's"
    await depot.do(OperationKind.UNBIND, given, binding)


async def test_what_was_deleted_meanwhile_stays_away(depot: Depot, given: Instance) -> None:
    """Its deletion has taken it along, and the stock forgets it."""
    await depot.do(OperationKind.DEPROVISION, given)
    await _forget(depot, given)
    assert await depot.states() == [WarmState.READY] * 2


async def test_what_is_being_deleted_is_left_to_its_deletion(depot: Depot, given: Instance) -> None:
    """No second hand on it: the deletion tags what it drops by itself."""
    async with depot.store.transaction() as state:
        await state.set_instance_status(given.key, Status.DELETING)
    await depot.stock.keep()
    assert await whose(depot, given) == "the stock's"


async def test_two_replicas_adopt_at_once(depot: Depot, given: Instance) -> None:
    """Whoever comes second finds it done."""
    await asyncio.gather(*(stock.refill() for stock in (depot.stock, depot.another(PLAN))))
    assert await whose(depot, given) == "the instance's"


async def test_the_same_request_twice_at_once_takes_one(depot: Depot) -> None:
    """Whoever is slower has taken nothing; asked again, there is nothing to take."""
    await depot.another(replace(PLAN, warm=4)).keep()
    wanted = an_instance()
    places = await asyncio.gather(*(depot.hand_over(wanted) for _ in range(4)))
    (place,) = [place for place in places if place is not None]
    given = await depot.store.instance(wanted.key)
    assert given is not None
    assert (given.server, given.database) == (place.server, place.database)
    assert await depot.hand_over(wanted) is None
    assert Counter(await depot.states()) == {WarmState.CLAIMED: 1, WarmState.READY: 3}
    await depot.do(OperationKind.DEPROVISION, given)
    await _forget(depot, given)


async def test_nobody_gets_what_is_not_for_him(depot: Depot) -> None:
    """From another server, or from a cordoned one, there is nothing, and nothing is recorded."""
    await depot.stock.keep()
    wanted = an_instance()
    assert await depot.hand_over(wanted, server="beta") is None
    await depot.store.servers.cordon("alpha", None)
    assert await depot.hand_over(wanted) is None
    assert await depot.store.instance(wanted.key) is None
    assert await depot.states() == [WarmState.READY] * 2
