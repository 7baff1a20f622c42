"""``kill -9`` of what operators run, behind each of its writes; then it is run again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.chaos.catalog import CATALOG, KEPT
from tests.support.application import new_key
from tests.support.catalog import SMALL
from tests.support.failing_command import run_command
from tests.support.faults_fleet import Fleet, a_fleet
from tests.support.faults_platform import CREATED, DELETED, Known, PatientPlatform
from tests.support.faults_replica import name_once
from tests.support.faults_waiting import until
from tests.support.platform import new_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from pathlib import Path

    from tests.support.faults_servers import OwnServer

READY = "SELECT count(*) FILTER (WHERE state = 'ready'), count(*) FROM pgbroker.warm_databases"

GONE = "No deleted instance with the id"
"""What is said of what is not kept any more."""

MOST_WRITES = 60
"""No command has more, with as little to do as here."""


@dataclass(slots=True)
class World:
    """A fleet with one replica that serves, and operators.

    Attributes:
        fleet: The fleet.
        platform: Uses it.
        environ: Of the operators, with the other key first where they rotate keys.
        directory: For files.
    """

    fleet: Fleet
    platform: PatientPlatform
    environ: dict[str, str]
    directory: Path

    async def run(self, *arguments: str) -> str:
        """Run a command to its good end; return what it printed."""
        ended = await run_command(*arguments, environ=self.environ, directory=self.directory)
        assert ended.status == 0, ended.output
        return ended.output

    async def killed_again_and_again(
        self,
        prepare: Callable[[], Awaitable[Sequence[str]]],
        afterwards: Callable[[], Awaitable[None]],
        *,
        done: Sequence[str] = (),
        every: int = 1,
    ) -> int:
        """Kill a command behind its first write, run it again, and look; then its second...

        Args:
            prepare: Makes what the command is for, and returns it.
            afterwards: Notes what the command has done, once it was run again.
            every: How many writes to go on by, where each takes long.
            done: What it says, run again, when what it had recorded is done, or being done, all
                the same.

        Returns:
            How many writes it has.
        """
        for behind in range(1, MOST_WRITES, every):
            command = await prepare()
            first = await run_command(
                *command, environ=self.environ, directory=self.directory, killed_behind=behind
            )
            again = first
            if first.killed:
                again = await run_command(*command, environ=self.environ, directory=self.directory)
            over = any(words in again.output for words in done)
            assert again.status == 0 or over, again.output
            await self.fleet.agreement.settle()
            await afterwards()
            await self.fleet.agrees()
            if not first.killed:
                return behind - 1
        raise AssertionError("it never comes to its end")


@pytest.fixture
async def world(fragile: OwnServer, state_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    """Return a fleet whose plans keep what is deleted, with two keys and a server of its own."""
    catalog_file = tmp_path / "kept.yaml"
    catalog_file.write_text(CATALOG, "utf-8")
    fleet = a_fleet(
        fragile.postgres,
        state_dsn,
        tmp_path,
        CATALOG_FILE=str(catalog_file),
        ENCRYPTION_KEYS=",".join((new_key("one"), new_key("two"))),
    )
    name_once(fleet.environ)
    try:
        await fleet.begin()
        async with PatientPlatform((fleet.survivor,), fleet.ledger, keeping=[KEPT]) as platform:
            yield World(fleet, platform, dict(fleet.environ), tmp_path)
    finally:
        fleet.end()


async def deleted(world: World) -> tuple[str, str, Known]:
    """Delete an instance that is kept; return its id, the deletion's, and what it was."""
    instance = new_id()
    assert (await world.platform.provision(instance, KEPT)).status_code in CREATED
    known = world.fleet.ledger.instances[instance]
    assert (await world.platform.deprovision(instance)).status_code in DELETED
    found: list[dict[str, Any]] = json.loads(await world.run("instances", "deleted", "--json"))
    (deletion,) = (row["id"] for row in found if row["instance_id"] == instance)
    return instance, deletion, known


async def test_undeleting(world: World) -> None:
    """The instance is back, once, and can be bound."""
    last: list[tuple[str, Known]] = []

    async def prepare() -> Sequence[str]:
        instance, deletion, known = await deleted(world)
        last.append((instance, known))
        return ["instances", "undelete", deletion]

    async def afterwards() -> None:
        instance, known = last[-1]
        del world.fleet.ledger.kept[instance]
        world.fleet.ledger.instances[instance] = known
        assert (await world.platform.bind(instance, new_id())).status_code in CREATED

    done = ("is being restored as the instance", GONE)
    assert await world.killed_again_and_again(prepare, afterwards, done=done) > 3


async def test_purging(world: World) -> None:
    """The data is gone, and so are its roles and its record."""
    last: list[str] = []

    async def prepare() -> Sequence[str]:
        instance, deletion, _ = await deleted(world)
        last.append(instance)
        return ["instances", "purge", "--yes", deletion]

    async def afterwards() -> None:
        del world.fleet.ledger.kept[last[-1]]

    assert await world.killed_again_and_again(prepare, afterwards, done=[GONE]) > 3


async def test_rotating_the_admin_password(world: World) -> None:
    """Replicas get in with whatever password the role has by then."""

    async def prepare() -> Sequence[str]:
        return ["servers", "rotate-admin", "shared"]

    async def afterwards() -> None:
        assert (await world.platform.provision(new_id(), SMALL)).status_code in CREATED

    assert await world.killed_again_and_again(prepare, afterwards) > 1


async def test_rotating_keys(world: World) -> None:
    """Everything that was made with the old key is moved, and nothing is lost."""
    first, second = world.environ["PGBROKER_ENCRYPTION_KEYS"].split(",")
    for plan in (SMALL, KEPT):
        instance = new_id()
        assert (await world.platform.provision(instance, plan)).status_code in CREATED
        assert (await world.platform.bind(instance, new_id())).status_code in CREATED
    await deleted(world)

    async def prepare() -> Sequence[str]:
        world.environ["PGBROKER_ENCRYPTION_KEYS"] = f"{first},{second}"
        await world.run("keys", "rotate")
        world.environ["PGBROKER_ENCRYPTION_KEYS"] = f"{second},{first}"
        return ["keys", "rotate"]

    async def afterwards() -> None:
        rows = json.loads(await world.run("keys", "list", "--json"))
        assert {row["id"]: bool(row["uses"]) for row in rows} == {"two": True, "one": False}

    assert await world.killed_again_and_again(prepare, afterwards) > 5


async def test_reconciling(world: World) -> None:
    """What was damaged is repaired, all of it."""
    instance, binding = new_id(), new_id()
    assert (await world.platform.provision(instance, SMALL)).status_code in CREATED
    assert (await world.platform.bind(instance, binding)).status_code in CREATED
    database = world.fleet.ledger.bindings[instance, binding]["database"]
    # What is still being handed over from the stock is left for the next time.
    await world.fleet.agreement.settle()
    damages = ("ALTER DATABASE {} CONNECTION LIMIT 77", "GRANT CONNECT ON DATABASE {} TO PUBLIC")

    async def prepare() -> Sequence[str]:
        async with await psycopg.AsyncConnection.connect(
            world.fleet.postgres.superuser_dsn(), autocommit=True
        ) as server:
            for damage in damages:
                await server.execute(SQL(damage).format(Identifier(database)))
        return ["reconcile", "--apply"]

    async def afterwards() -> None:
        await world.run("reconcile")

    assert await world.killed_again_and_again(prepare, afterwards) > 3


async def test_recovering(world: World) -> None:
    """What the state had forgotten is there again, once."""
    instances = [new_id() for _ in range(2)]
    for instance in instances:
        assert (await world.platform.provision(instance, KEPT)).status_code in CREATED

    async def prepare() -> Sequence[str]:
        async with await psycopg.AsyncConnection.connect(
            world.fleet.state_dsn, autocommit=True
        ) as state:
            await state.execute("DELETE FROM pgbroker.instances")
        return ["recover", "--from-servers"]

    async def afterwards() -> None:
        await world.run("reconcile")

    assert await world.killed_again_and_again(prepare, afterwards) > 1


async def test_releasing_the_stock(world: World) -> None:
    """What was released by half is dropped, and the stock is filled again.

    That is left to the periodic work, so not every write has its turn.
    """

    async def full() -> bool:
        async with await psycopg.AsyncConnection.connect(world.fleet.state_dsn) as state:
            cursor = await state.execute(READY)
            return await cursor.fetchone() == (2, 2)

    async def prepare() -> Sequence[str]:
        await until(full, what="the stock is full")
        return ["warm", "release"]

    async def afterwards() -> None:
        # Who takes from the stock has it filled again at once, and does not wait for that.
        assert (await world.platform.provision(new_id(), SMALL)).status_code in CREATED
        await until(full, what="the stock is full again")

    assert await world.killed_again_and_again(prepare, afterwards, every=4) > 3
