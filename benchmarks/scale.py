"""The same verbs with much in the state database, with many databases, and after much work.

Belongs here: filling the state and the server, and measuring what that does to time and memory.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from benchmarks.client import BrokerClient
from benchmarks.measure import VERBS, measure_lives, measure_verbs
from benchmarks.warm import measure_warm

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.place import Place
    from benchmarks.series import Row

_INSTANCES = SQL("""
INSERT INTO pgbroker.instances
SELECT (pg_catalog.jsonb_populate_record(i, pg_catalog.jsonb_build_object(
    'instance_id', 'filler-' || n, 'database', 'filler_' || n, 'owner', 'filler_' || n || '_owner'
))).*
FROM pgbroker.instances AS i, pg_catalog.generate_series(%s::int, %s::int) AS n
WHERE i.instance_id NOT LIKE 'filler-%%'
""")
_BINDINGS = SQL("""
INSERT INTO pgbroker.bindings
SELECT (pg_catalog.jsonb_populate_record(b, pg_catalog.jsonb_build_object(
    'instance_id', 'filler-' || n, 'login', 'filler_' || n || '_login'
))).*
FROM pgbroker.bindings AS b, pg_catalog.generate_series(%s::int, %s::int) AS n
WHERE b.instance_id NOT LIKE 'filler-%%'
""")
_ANALYZE = SQL("ANALYZE pgbroker.instances; ANALYZE pgbroker.bindings")
_CREATE = SQL("CREATE DATABASE {} TEMPLATE template0 ALLOW_CONNECTIONS false")


@dataclass(frozen=True, slots=True)
class Scale:
    """How far it goes.

    Attributes:
        instances: Numbers of instances in the state database, growing.
        databases: Numbers of databases on the server, growing.
        rounds: How often each verb is measured with each number.
        life_seconds: How long lives are begun with each number, each way.
        operations: After how many the broker's memory is looked at the last time.
    """

    instances: tuple[int, ...]
    databases: tuple[int, ...]
    rounds: int
    life_seconds: float
    operations: int

    @classmethod
    def full(cls) -> Self:
        """Return what takes nine to twelve minutes."""
        return cls((10, 1_000, 10_000), (10, 300, 1_000), 40, 8.0, 10_000)

    @classmethod
    def quick(cls) -> Self:
        """Return what takes a minute, for a first look."""
        return cls((10, 1_000), (10, 50), 6, 1.0, 200)

    @property
    def parts(self) -> int:
        """How many parts there are to report the progress of."""
        numbers = len(self.instances) + len(self.databases)
        return numbers * (1 + self.rounds + _WARM_ROUNDS + _TURNS) + _SAMPLES


async def measure_scale(place: Place, scale: Scale, doing: Callable[[str], None]) -> list[Row]:
    """Measure the verbs while the state database, and then the server, fill up.

    Args:
        place: Where.
        scale: How far.
        doing: Called with the name of each part before it begins.
    """
    rows: list[Row] = []
    keeper = await BrokerClient.connected(place)
    async with await AsyncConnection.connect(place.broker_dsn, autocommit=True) as connection:
        # The instance whose row is copied; nothing is done with the copies.
        await keeper.provision()
        await keeper.bind()
        filled = 1
        for number in scale.instances:
            doing(f"filling the state database: {number:,} instances")
            await connection.execute(_INSTANCES, [filled, number])
            await connection.execute(_BINDINGS, [filled, number])
            await connection.execute(_ANALYZE)
            filled = number + 1
            rows += await _measured(place, scale, doing, f", {number:,} instances")
        await connection.execute("DELETE FROM pgbroker.instances WHERE instance_id LIKE 'filler-%'")
        made = 0
        for number in scale.databases:
            doing(f"filling the server: {number:,} databases")
            for index in range(made, number):
                await connection.execute(_CREATE.format(Identifier(f"filler_{index}")))
            made = number
            rows += await _measured(place, scale, doing, f", {number:,} databases")
    await keeper.reconnect()  # the broker has closed a connection that was idle for so long
    await keeper.unbind()
    await keeper.deprovision()
    await keeper.close()
    return rows


async def _measured(
    place: Place, scale: Scale, doing: Callable[[str], None], circumstance: str
) -> list[Row]:
    return [
        *await measure_verbs(place, scale.rounds, doing, circumstance),
        await measure_warm(place, _WARM_ROUNDS, doing, circumstance),
        await measure_lives(place, _CLIENTS, scale.life_seconds, doing, circumstance),
    ]


_CLIENTS = 8
_WARM_ROUNDS = 2
_TURNS = 4
_SAMPLES = 5
_VERBS_OF_A_LIFE = len(VERBS)


@dataclass(frozen=True, slots=True)
class Memory:
    """What the broker process occupied after so many operations.

    Attributes:
        operations: Done so far.
        resident: Bytes in memory (``VmRSS``).
    """

    operations: int
    resident: int


async def measure_memory(place: Place, scale: Scale, doing: Callable[[str], None]) -> list[Memory]:
    """Do many operations and look at the broker's memory from time to time."""
    samples = [Memory(0, _resident(place.broker_pid))]
    for sample in range(1, _SAMPLES + 1):
        done = scale.operations * sample // _SAMPLES
        doing(f"memory: {done:,} operations")
        lives = (done - samples[-1].operations) // _VERBS_OF_A_LIFE
        async with asyncio.TaskGroup() as group:
            for client in range(_CLIENTS):
                share = lives // _CLIENTS + (client < lives % _CLIENTS)
                group.create_task(_live(place, share))
        samples.append(Memory(done, _resident(place.broker_pid)))
    return samples


async def _live(place: Place, lives: int) -> None:
    client = await BrokerClient.connected(place)
    try:
        for _ in range(lives):
            await client.provision()
            await client.bind()
            await client.unbind()
            await client.deprovision()
    finally:
        await client.close()


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text("ascii")
    kibibytes = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(kibibytes.split()[1]) * 1024
