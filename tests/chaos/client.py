"""A client of a platform: random work on instances of its own, as platforms behave.

Belongs here: what is done next, how patiently, and what is looked at in between.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
import psycopg

from tests.chaos.catalog import BRIEF, KEPT
from tests.support.catalog import BIG, SERVICE, SLOW, SMALL
from tests.support.faults_agreement import logs_in
from tests.support.faults_platform import CREATED, DELETED, Ledger, PatientPlatform, path
from tests.support.faults_waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from tests.support.faults_replica import Replica

MOST_INSTANCES, MOST_BINDINGS = 3, 4

REQUEST_TIMEOUT = 30.0
"""Seconds after which a client gives a request up, and sends it again.

Longer than a replica may take to record it, as with real platforms: who asks for something and
deletes it before the first request was even read, may have it made afterwards.
"""

PATIENCE = 240.0
"""Seconds in which everything it wants must have come true, whatever happens."""

EXTENSIONS: tuple[list[str], ...] = (["hstore"], ["pg_trgm"], ["hstore", "pg_trgm"], [])


class Violated(AssertionError):
    """A client was told something that is not so."""


def randomness(seed: str) -> Random:
    """Return what decides something, the same for the same seed."""
    return Random(seed)  # noqa: S311 -- it keeps no secret, and must be replayed


class Client:
    """Does one thing after the other, each to its end, and remembers what it was told.

    What it does next follows from the seed and from what it has done before, and not from how long
    that took or how often it had to ask: each action has a randomness of its own, and so have the
    repetitions of requests.

    Args:
        name: For messages, and part of the seed.
        seed: Decides everything.
        replicas: Of the broker.
        asynchronous: Whether it can poll, and so uses plans that are never quick.
    """

    def __init__(
        self, name: str, seed: str, replicas: Sequence[Replica], *, asynchronous: bool
    ) -> None:
        self.name = name
        self.ledger = Ledger()
        self.done: Counter[str] = Counter()
        self._seed = f"{seed}/{name}"
        self._begun = 0
        self._rng = randomness(self._seed)
        self._memories: dict[str, str] = {}
        self._plans = (SMALL, SMALL, BIG, KEPT, BRIEF, *((SLOW,) if asynchronous else ()))
        self._platform = PatientPlatform(
            replicas,
            self.ledger,
            rng=randomness(f"{self._seed}/repetitions"),
            keeping=[KEPT],
            asynchronous=asynchronous,
            timeout=REQUEST_TIMEOUT,
            patience=PATIENCE,
        )

    async def work(self, over: asyncio.Event) -> None:
        """Work until it is over; what has been begun is finished first.

        Raises:
            Violated: What it was told is not so.
        """
        while not over.is_set():
            await self.act()

    async def act(self) -> None:
        """Do the next thing.

        Raises:
            Violated: What it was told is not so.
        """
        self._rng = randomness(f"{self._seed}/{self._begun}")
        self._begun += 1
        name, action = self._rng.choice(self._possible())
        await action()
        self.done[name] += 1

    async def leave(self) -> None:
        """Delete everything and close all connections."""
        for instance in list(self.ledger.instances):
            await self._deprovision(instance)
        await self._platform.close()

    def _possible(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        possible: list[tuple[str, Callable[[], Awaitable[None]]]] = []
        if len(self.ledger.instances) < MOST_INSTANCES:
            possible += [("provision", self._provision)] * 3
            possible += [("restore", self._restore)] * 2 if self.ledger.kept else []
        if self.ledger.instances:
            instance = self._rng.choice(list(self.ledger.instances))
            possible += [
                ("update", lambda: self._update(instance)),
                ("deprovision", lambda: self._deprovision(instance)),
                ("look", lambda: self._look(instance)),
            ]
            bound = [binding for owner, binding in self.ledger.bindings if owner == instance]
            if len(bound) < MOST_BINDINGS:
                possible += [("bind", lambda: self._bind(instance))] * 3
            if bound:
                binding = self._rng.choice(bound)
                possible.append(("unbind", lambda: self._unbind(instance, binding)))
                if (instance, binding) not in self.ledger.brief:
                    possible.append(("rotate", lambda: self._bind(instance, binding)))
        return possible

    def _new_id(self) -> str:
        return str(UUID(int=self._rng.getrandbits(128)))

    async def _provision(self) -> None:
        instance = self._new_id()
        plan = self._rng.choice(self._plans)
        body = {"service_id": SERVICE, "plan_id": plan, "parameters": {}}
        # Whether what is given up would be kept depends on how far it got.
        if plan != KEPT and await self._gives_up("PUT", path(instance), body):
            await self._expect(self._platform.deprovision(instance, plan), DELETED)
            return
        await self._expect(self._platform.provision(instance, plan), CREATED)
        await self._look(instance)
        if plan == KEPT:
            credentials = await self._credentials(instance)
            await self._insist(lambda: _remember(credentials, instance), "the word is written")
            self._memories[instance] = instance

    async def _restore(self) -> None:
        """Make an instance from what is kept of a deleted one, and look whether all is there."""
        former, instance = self._rng.choice(list(self.ledger.kept)), self._new_id()
        parameters = {"restore_from_instance": former}
        await self._expect(self._platform.provision(instance, KEPT, parameters), CREATED)
        self._memories[instance] = self._memories.pop(former)
        credentials = await self._credentials(instance)

        async def remembers() -> bool:
            return await _memory(credentials) == self._memories[instance]

        await self._insist(remembers, f"{instance} has the data of {former}")

    async def _credentials(self, instance: str) -> dict[str, Any]:
        binding = self._new_id()
        await self._expect(self._platform.bind(instance, binding), CREATED)
        return self.ledger.bindings[instance, binding]

    async def _insist(self, condition: Callable[[], Awaitable[bool]], what: str) -> None:
        """Wait for something that servers that are stopped meanwhile may delay."""

        async def held() -> bool:
            try:
                return await condition()
            except psycopg.OperationalError:
                return False

        await until(held, what=f"{self.name}: {what}", within=PATIENCE)

    async def _update(self, instance: str) -> None:
        known = self.ledger.instances[instance]
        # A plan that is never quick stays as it is; the others may grow.
        plan = BIG if known.plan_id == SMALL and self._rng.random() < 1 / 2 else None
        variable = known.plan_id not in {SLOW, BRIEF}
        chosen = list(self._rng.choice(EXTENSIONS)) if variable else None
        if plan is None and chosen is None:
            return
        parameters = None if chosen is None else {"extensions": chosen}
        await self._expect(self._platform.update(instance, plan, parameters), CREATED)

    async def _bind(self, instance: str, predecessor: str | None = None) -> None:
        binding = self._new_id()
        body = {"service_id": SERVICE, "plan_id": self.ledger.instances[instance].plan_id}
        if predecessor is not None:
            body["predecessor_binding_id"] = predecessor
        if await self._gives_up("PUT", path(instance, binding), body):
            # Some platforms delete the instance with what they do not know of in it.
            if self._rng.random() < 1 / 3:
                await self._deprovision(instance)
            else:
                await self._expect(self._platform.unbind(instance, binding), DELETED)
            return
        await self._expect(self._platform.bind(instance, binding, predecessor), CREATED)
        if self.ledger.instances[instance].plan_id == BRIEF:
            self.ledger.brief.add((instance, binding))
        else:
            await self._look_at_login(self.ledger.bindings[instance, binding])

    async def _unbind(self, instance: str, binding: str) -> None:
        credentials = self.ledger.bindings[instance, binding]
        await self._expect(self._platform.unbind(instance, binding), DELETED)
        if await logs_in(credentials):
            raise Violated(f"{self.name}: the binding {binding} was deleted, and logs in")

    async def _deprovision(self, instance: str) -> None:
        await self._expect(self._platform.deprovision(instance), DELETED)

    async def _look(self, instance: str) -> None:
        """Fetch what was told to be there, and log in with all its credentials."""
        fetched = await self._platform.settled("GET", path(instance))
        known = self.ledger.instances[instance]
        if fetched.status_code != httpx.codes.OK or fetched.json()["plan_id"] != known.plan_id:
            raise Violated(f"{self.name}: the instance {instance} is {fetched.text}, not {known}")
        for (owner, binding), credentials in self.ledger.bindings.items():
            if owner == instance:
                found = await self._platform.settled("GET", path(instance, binding))
                if found.is_error or found.json()["credentials"] != credentials:
                    raise Violated(f"{self.name}: the binding {binding} is another one")
                if (owner, binding) not in self.ledger.brief:
                    await self._look_at_login(credentials)

    async def _look_at_login(self, credentials: dict[str, Any]) -> None:
        login = credentials["username"]
        await until(
            lambda: logs_in(credentials), what=f"{self.name}: {login} logs in", within=PATIENCE
        )

    async def _gives_up(self, method: str, where: str, body: dict[str, Any]) -> bool:
        """Now and then, want a creation no more once it is recorded, and hang up.

        Whether there was an answer before that changes nothing: it is not wanted any more.
        """
        if self._rng.random() > 1 / 3:
            return False
        query = {"accepts_incomplete": "true"} if self._platform.asynchronous else {}
        patience = self._rng.choice((0.0, 0.01, 0.03, 0.1))
        sent = asyncio.create_task(self._platform.once(method, where, json=body, params=query))

        async def recorded() -> bool:
            polled = await self._platform.once("GET", f"{where}/last_operation")
            return sent.done() or (polled is not None and polled.status_code == httpx.codes.OK)

        await until(recorded, what=f"{self.name}: {where} is recorded", within=PATIENCE)
        if not sent.done():
            await asyncio.wait({sent}, timeout=patience)
        sent.cancel()
        await asyncio.wait({sent})
        self.done["given up"] += 1
        return True

    async def _expect(self, request: Awaitable[httpx.Response], statuses: frozenset[int]) -> None:
        answer = await request
        if answer.status_code not in statuses:
            raise Violated(
                f"{self.name}: {answer.request.method} {answer.request.url.path} was answered "
                f"{answer.status_code} {answer.text}"
            )


async def _remember(credentials: dict[str, Any], word: str) -> bool:
    """Leave a word in a database."""
    async with await psycopg.AsyncConnection.connect(credentials["uri"], autocommit=True) as tenant:
        await tenant.execute("CREATE TABLE IF NOT EXISTS memory (word text PRIMARY KEY)")
        await tenant.execute("INSERT INTO memory VALUES (%s) ON CONFLICT DO NOTHING", [word])
    return True


async def _memory(credentials: dict[str, Any]) -> str:
    """Return the word that was left in a database."""
    async with await psycopg.AsyncConnection.connect(credentials["uri"]) as tenant:
        row = await (await tenant.execute("SELECT word FROM memory")).fetchone()
    assert row is not None
    word: str = row[0]
    return word
