"""The warm stock on a real server: made, adopted, released, and cleared away after a crash."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from broker.domain.catalog import Extensions
from broker.domain.names import owner_name
from broker.domain.operation import OperationKind
from broker.domain.warm import Location, WarmDatabase, WarmState, fingerprint
from broker.operations.warm import LONGEST_REST
from tests.integration.postgres.depot import (
    LIMITS,
    LONG_AGO,
    PLAN,
    Depot,
    depot,
    deprovisioned,
)
from tests.integration.postgres.stepwise import confirmed
from tests.integration.postgres.tenants import database_spec
from tests.support.state import migrated_template, state_dsn
from tests.unit.domain import examples

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.domain.catalog import Plan
    from broker.postgres.engine import PostgresEngine
    from broker.service.ports import DatabaseSession
    from tests.support.postgres import PostgresServer

__all__ = ["depot", "migrated_template", "state_dsn"]


async def test_a_stock_is_filled_and_refilled(depot: Depot) -> None:
    """There are as many as the plan says, all tagged as nobody's; a claimed one is replaced."""
    await depot.stock.keep()
    assert await depot.states() == [WarmState.READY] * 2
    made = await depot.store.warm.listed()
    assert await depot.there() == {warm.database for warm in made}
    for warm in made:
        assert await depot.comments(warm.database) == [warm.tag] * 3
    taken = await depot.claim()
    await depot.stock.refill()
    assert await depot.states() == [WarmState.READY] * 2
    async with deprovisioned(depot, await depot.provision(taken)):
        await depot.stock.refill()
    assert await depot.states() == [WarmState.READY] * 2


async def test_a_refill_rests_as_long_as_it_works(
    depot: Depot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each database the server is left to others, for a while that is bounded."""
    rests: list[tuple[int, float]] = []

    async def rest(seconds: float) -> None:
        rests.append((len(await depot.states()), seconds))

    monkeypatch.setattr("broker.operations.warm._rest", rest)
    await depot.stock.keep()
    assert [made for made, _ in rests] == [1, 2]
    assert all(0 < seconds <= LONGEST_REST for _, seconds in rests)


async def test_two_replicas_fill_it_together(depot: Depot) -> None:
    """However many keep it at once, there are no more than the plan says."""
    stocks = [depot.stock, *(depot.another(PLAN) for _ in range(3))]
    await asyncio.gather(*(stock.keep() for stock in stocks))
    assert await depot.states() == [WarmState.READY] * 2


async def test_an_adopted_database_is_like_a_made_one(
    depot: Depot, postgres: PostgresServer
) -> None:
    """Rights, settings, limits, memberships and extensions are the same; so are the comments."""
    await depot.stock.keep()
    asked = {"extensions": ["hstore"]}
    adopted = await depot.provision(await depot.claim())
    extended = await depot.provision(await depot.claim(), **asked)
    names = [f"d{secrets.token_hex(8)}" for _ in range(2)]
    made = await depot.provision(Location("alpha", names[0]))
    made_extended = await depot.provision(Location("alpha", names[1]), **asked)
    async with deprovisioned(depot, adopted, extended, made, made_extended):
        assert await depot.shape(adopted, postgres) == await depot.shape(made, postgres)
        expected = await depot.shape(made_extended, postgres)
        assert expected["extensions"] == ["citext", "hstore", "plpgsql"]
        assert await depot.shape(extended, postgres) == expected
        for instance in (adopted, made):
            tag = depot.tags.instance(instance.key, "k1")
            record = f"{tag} {depot.tags.instance_record(instance)}"
            assert await depot.comments(instance.database) == [tag, tag, record]


async def test_an_adoption_can_be_repeated(depot: Depot, postgres: PostgresServer) -> None:
    """Whoever takes a provision over finds adopted what was adopted, and all as it should be."""
    await depot.stock.keep()
    instance = await depot.provision(await depot.claim())
    async with deprovisioned(depot, instance):
        before = await depot.shape(instance, postgres)
        await depot.do(OperationKind.PROVISION, instance)
        assert await depot.shape(instance, postgres) == before


async def test_what_was_claimed_and_not_adopted_can_be_deprovisioned(depot: Depot) -> None:
    """An instance whose provision died right after it was recorded takes its database along."""
    await depot.stock.keep()
    taken = await depot.claim()
    instance = replace(
        examples.INSTANCE, database=taken.database, owner=owner_name(taken.database), parameters={}
    )
    await depot.do(OperationKind.DEPROVISION, instance)
    assert await depot.on_server([taken.database]) == set()


async def test_what_an_operator_has_dropped_is_made(depot: Depot) -> None:
    """A claimed database that is not there any more costs time, and no error."""
    await depot.stock.keep()
    taken = await depot.claim()
    await depot.superuser.execute(f'DROP DATABASE "{taken.database}"'.encode())
    async with deprovisioned(depot, await depot.provision(taken)):
        assert await depot.on_server([taken.database]) == {taken.database}


async def test_no_capacity_is_exceeded(depot: Depot) -> None:
    """The stock gets what room there is, and not more."""
    await depot.another(PLAN, capacity=1).keep()
    assert await depot.states() == [WarmState.READY]


async def test_a_cordoned_server_gets_none_and_gives_none(depot: Depot) -> None:
    """New instances stay away from it, so nothing is made ready there either."""
    await depot.store.servers.cordon("alpha", None)
    await depot.stock.keep()
    assert await depot.states() == []
    await depot.store.servers.uncordon("alpha")
    await depot.stock.keep()
    await depot.store.servers.cordon("alpha", None)
    assert await depot.try_to_claim() is None


@pytest.mark.parametrize(
    "plans",
    [
        (),
        (replace(PLAN, warm=0),),
        (replace(PLAN, pool="other"),),
        (replace(PLAN, server_labels={"disk": "nvme"}),),
    ],
)
async def test_what_the_catalog_does_not_want_any_more_is_dropped(
    depot: Depot, plans: tuple[Plan, ...]
) -> None:
    """A plan that has gone, or has moved elsewhere, leaves nothing behind."""
    await depot.stock.keep()
    names = [warm.database for warm in await depot.store.warm.listed()]
    await depot.run(LONG_AGO)
    await depot.another(*plans).keep()
    assert await depot.states() == []
    assert await depot.on_server(names) == set()


async def test_a_changed_plan_gets_a_new_stock(depot: Depot) -> None:
    """Nobody is given a database with yesterday's limits."""
    await depot.stock.keep()
    before = await depot.there()
    changed = replace(PLAN, limits=replace(LIMITS, connections=8))
    await depot.run(LONG_AGO)
    await depot.another(changed).keep()
    stock = await depot.store.warm.listed()
    assert [warm.fingerprint for warm in stock] == [fingerprint(changed, "k1")] * 2
    assert not before & {warm.database for warm in stock}
    assert await depot.on_server(list(before)) == set()


async def test_replicas_that_differ_leave_each_other_s_stock_alone(depot: Depot) -> None:
    """While a catalog is rolled out, each makes what it lacks, and drops nothing just made."""
    changed = replace(PLAN, limits=replace(LIMITS, connections=8), warm=1)
    other = depot.another(changed)
    await depot.stock.keep()
    await other.keep()
    both = await depot.there()
    assert len(both) == 3
    for stock in (depot.stock, other):
        await stock.keep()
    assert await depot.there() == both
    assert await depot.states() == [WarmState.READY] * 3


class _Interrupting:
    """An engine to which something happens before the lock of a database is granted."""

    def __init__(self, engine: PostgresEngine, event: Callable[[str], Awaitable[object]]) -> None:
        self._engine = engine
        self._event = event

    async def exclusively(self, database: str, *work: Any, **options: Any) -> None:
        """Let it happen, then do the work."""
        await self._event(database)
        await self._engine.exclusively(database, *work, **options)


async def test_whoever_was_given_up_makes_nothing_any_more(depot: Depot) -> None:
    """A process that was frozen before its turn finds its database given up."""
    interrupted = _Interrupting(depot.engine, depot.store.warm.give_up)
    await depot.another(PLAN, engine=interrupted).refill()
    assert await depot.states() == [WarmState.RELEASING]
    assert await depot.there() == set()


class _Late:
    """An engine that returns from its work after something else has happened."""

    def __init__(self, engine: PostgresEngine, event: Callable[[], Awaitable[object]]) -> None:
        self._engine = engine
        self._event = event

    async def exclusively(self, *work: Any, **options: Any) -> None:
        """Do the work, then let it happen."""
        await self._engine.exclusively(*work, **options)
        await self._event()


async def test_what_took_long_to_make_is_ready_before_its_lock_is_free(depot: Depot) -> None:
    """Who took it for left behind, and gets the lock after its maker, does not drop it."""

    async def take_for_left_behind() -> None:
        await depot.stock.drop(await depot.store.warm.listed())

    slow = _Late(depot.engine, take_for_left_behind)
    await depot.another(replace(PLAN, warm=1), engine=slow).refill()
    assert await depot.states() == [WarmState.READY]
    assert len(await depot.there()) == 1


async def test_what_a_crash_has_left_is_cleared_away(depot: Depot) -> None:
    """A database begun long ago is dropped, half-made as it is; one begun just now is not."""
    spec = database_spec()
    left = WarmDatabase(spec.name, "alpha", "service", "plan", "fingerprint", spec.tag)

    async def half(database: DatabaseSession) -> None:
        await database.ensure_roles(spec)
        await database.ensure_database(spec)

    await depot.store.warm.add(left)
    await depot.engine.exclusively(left.database, half, confirm=confirmed)
    await depot.stock.keep()
    assert await depot.states() == [WarmState.MAKING]
    await depot.run(LONG_AGO)
    await depot.stock.keep()
    assert await depot.states() == [WarmState.READY] * 2
    assert await depot.on_server([left.database]) == set()


async def test_a_plan_that_cannot_be_made_is_left_alone_for_a_while(depot: Depot) -> None:
    """What the server refuses leaves nothing, and is not tried again and again."""
    extensions = Extensions(("no_such_extension",), ("no_such_extension",))
    impossible = depot.another(replace(PLAN, extensions=extensions))
    await impossible.keep()
    (refused,) = await depot.store.warm.listed()
    assert refused.state is WarmState.RELEASING
    await impossible.keep()
    assert await depot.states() == []
    assert await depot.on_server([refused.database]) == set()


async def test_each_claim_gets_another_database(depot: Depot) -> None:
    """Claims at the same moment share nothing, and take only what suits them."""
    await depot.another(replace(PLAN, warm=3)).keep()
    names = {warm.database for warm in await depot.store.warm.listed()}
    everybody = asyncio.Barrier(3)

    async def claim() -> str:
        async with depot.store.transaction() as state:
            taken = await state.warm.claim(fingerprint(PLAN, "k1"), ["alpha"])
            await everybody.wait()
        assert taken is not None
        return taken.database

    assert await depot.try_to_claim(of="another") is None
    assert await depot.try_to_claim(server="beta") is None
    taken = await asyncio.gather(claim(), claim(), claim())
    assert set(taken) == names
    assert await depot.try_to_claim() is None
    for name in taken:
        instance = replace(examples.INSTANCE, database=name, owner=owner_name(name), parameters={})
        await depot.do(OperationKind.DEPROVISION, instance)


async def test_a_claim_that_fails_leaves_the_stock_as_it_was(depot: Depot) -> None:
    """A provision that cannot be recorded has taken nothing."""
    await depot.stock.keep()

    async def fail() -> None:
        async with depot.store.transaction() as state:
            assert await state.warm.claim(fingerprint(PLAN, "k1"), ["alpha"]) is not None
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await depot.states() == [WarmState.READY] * 2
