"""One run: two replicas, eight clients, faults for some time, then the invariant."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from broker.store import migrate
from tests.chaos.client import PATIENCE, Client
from tests.chaos.faults import Injector
from tests.support.catalog import with_warm
from tests.support.faults_fleet import Fleet, a_fleet
from tests.support.faults_platform import Ledger
from tests.support.faults_servers import OwnServer, own_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

CLIENTS = 8

PROGRESS_EVERY = 5.0
"""Seconds between two lines that say how far it is."""


@dataclass(slots=True)
class Result:
    """What happened in a run.

    Attributes:
        seed: Replays it.
        seconds: How long faults were injected.
        work: What clients did, and how often.
        faults: What happened to them.
        violations: What does not agree; a run is good when there is none.
    """

    seed: str
    seconds: float
    work: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


async def run(seed: str, seconds: float, directory: Path, *, tell: Callable[[str], None]) -> Result:
    """Run chaos for some time and look at what it has left.

    Args:
        seed: Decides what clients do and which faults happen, in which order and after which
            pauses. How the processes interleave is up to the machine.
        seconds: How long faults are injected.
        directory: For servers and logs; PostgreSQL must be able to enter it.
        tell: Called with a line now and then.
    """
    async with _system(directory) as (fleet, tenants, state):
        replicas = fleet.survivor, fleet.failing
        clients = [
            Client(
                f"client {number}",
                _random(f"{seed}/client/{number}"),
                replicas,
                asynchronous=number % 2 == 1,
            )
            for number in range(CLIENTS)
        ]
        injector = Injector(_random(f"{seed}/faults"), replicas, tenants, state)
        result = Result(seed, seconds)
        try:
            await _turmoil(clients, injector, seconds, tell)
            tell("quiet again: comparing state, catalogs and what clients were told")
            result.violations += await _compare(fleet, clients)
            tell("deleting everything")
            await asyncio.gather(*(client.leave() for client in clients))
            result.violations += await _compare(fleet, clients)
        except* AssertionError as group:
            result.violations += [f"{exc}" for exc in _leaves(group)]
        result.work = sum((client.done for client in clients), Counter())
        result.faults = injector.happened
        return result


async def _turmoil(
    clients: list[Client], injector: Injector, seconds: float, tell: Callable[[str], None]
) -> None:
    over = asyncio.Event()
    began = time.monotonic()

    async def progress() -> None:
        while not over.is_set():
            done = sum(client.done.total() for client in clients)
            faults = injector.happened.total()
            tell(f"{time.monotonic() - began:5.0f} s  {done:6} done  {faults:4} faults")
            with_deadline = min(PROGRESS_EVERY, max(seconds - time.monotonic() + began, 0.1))
            try:
                await asyncio.wait_for(over.wait(), with_deadline)
            except TimeoutError:
                if time.monotonic() - began >= seconds:
                    over.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(progress())
        group.create_task(injector.work(over))
        for client in clients:
            group.create_task(client.work(over))


async def _compare(fleet: Fleet, clients: list[Client]) -> list[str]:
    ledger = Ledger()
    for client in clients:
        ledger.instances |= client.ledger.instances
        ledger.bindings |= client.ledger.bindings
        ledger.revoked += client.ledger.revoked
    await fleet.agreement.settle(within=PATIENCE)
    return await fleet.agreement.differences(ledger)


@asynccontextmanager
async def _system(directory: Path) -> AsyncIterator[tuple[Fleet, OwnServer, OwnServer]]:
    async with (
        own_server(directory / "tenants") as tenants,
        own_server(directory / "state") as state,
    ):
        dsn = state.postgres.broker_dsn()
        await migrate(dsn)
        logs = directory / "replicas"
        logs.mkdir()
        warm = logs / "warm.yaml"
        warm.write_text(with_warm(2), "utf-8")
        fleet = a_fleet(
            tenants.postgres, dsn, logs, SYNC_WINDOW_SECONDS="2", CATALOG_FILE=str(warm)
        )
        try:
            await fleet.begin()
            await fleet.failing.start()
            yield fleet, tenants, state
        finally:
            fleet.end()


def _random(seed: str) -> Random:
    return Random(seed)  # noqa: S311 -- it keeps no secret, and must be replayed


def _leaves(group: BaseExceptionGroup[AssertionError]) -> list[AssertionError]:
    return [
        leaf
        for exc in group.exceptions
        for leaf in (_leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc])
    ]
