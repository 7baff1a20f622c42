"""One run: two replicas, eight clients, faults for some time, then the invariant."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg

from broker.store import migrate
from tests.chaos.catalog import CATALOG
from tests.chaos.client import PATIENCE, Client
from tests.chaos.faults import Injector
from tests.support.application import new_key
from tests.support.faults_fleet import Fleet, a_fleet
from tests.support.faults_platform import Ledger
from tests.support.faults_replica import name_once
from tests.support.faults_servers import OwnServer, own_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

CLIENTS = 8

WATCH_EVERY = 0.5
"""Seconds between two looks whether everything in progress would be taken over."""

PROGRESS_EVERY = 5.0
"""Seconds between two lines that say how far it is."""


@dataclass(slots=True)
class Result:
    """What happened in a run.

    Attributes:
        seed: Replays what was done and injected, though not how fast the machine was.
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
        seed: Decides what each client does, in which order, and which faults come after which
            pauses and how long they last. How far a client gets between two faults is up to the
            machine, and so is which backend is killed, and whether a fault is left out because
            the part still suffers from the one before.
        seconds: How long faults are injected.
        directory: For servers and logs; PostgreSQL must be able to enter it.
        tell: Called with a line now and then.
    """
    async with _system(directory) as (fleet, tenants, state):
        replicas = fleet.survivor, fleet.failing
        clients = [
            Client(f"client {number}", seed, replicas, asynchronous=number % 2 == 1)
            for number in range(CLIENTS)
        ]
        injector = Injector(seed, replicas, tenants, state, _operators(fleet.environ))
        result = Result(seed, seconds)
        try:
            result.violations += await _turmoil(fleet, clients, injector, seconds, tell)
            tell("quiet again: comparing state, catalogs and what clients were told")
            result.violations += await _compare(fleet, clients)
            result.violations += await injector.drift()
            tell("deleting everything")
            await asyncio.gather(*(client.leave() for client in clients))
            result.violations += await _compare(fleet, clients)
        except* AssertionError as group:
            result.violations += [f"{exc}" for exc in _leaves(group)]
        result.work = sum((client.done for client in clients), Counter())
        result.faults = injector.happened
        return result


async def _turmoil(
    fleet: Fleet,
    clients: list[Client],
    injector: Injector,
    seconds: float,
    tell: Callable[[str], None],
) -> list[str]:
    """Let clients work and faults happen; return what was seen to be wrong meanwhile."""
    over = asyncio.Event()
    unattended: list[str] = []
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

    async def watch() -> None:
        while not over.is_set():
            with suppress(psycopg.OperationalError):
                unattended.extend(await fleet.agreement.unattended())
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), WATCH_EVERY)

    async with asyncio.TaskGroup() as group:
        group.create_task(progress())
        group.create_task(watch())
        group.create_task(injector.work(over))
        for client in clients:
            group.create_task(client.work(over))
    return unattended


async def _compare(fleet: Fleet, clients: list[Client]) -> list[str]:
    ledger = Ledger()
    for client in clients:
        ledger |= client.ledger
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
        catalog_file = logs / "chaos.yaml"
        catalog_file.write_text(CATALOG, "utf-8")
        fleet = a_fleet(
            tenants.postgres,
            dsn,
            logs,
            SYNC_WINDOW_SECONDS="2",
            CATALOG_FILE=str(catalog_file),
            ENCRYPTION_KEYS=",".join((new_key("one"), new_key("two"))),
        )
        name_once(fleet.environ)
        try:
            await fleet.begin()
            await fleet.failing.start()
            yield fleet, tenants, state
        finally:
            fleet.end()


def _operators(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of operators, who have put the other key first."""
    first, second = environ["PGBROKER_ENCRYPTION_KEYS"].split(",")
    return {**environ, "PGBROKER_ENCRYPTION_KEYS": f"{second},{first}"}


def _leaves(group: BaseExceptionGroup[AssertionError]) -> list[AssertionError]:
    return [
        leaf
        for exc in group.exceptions
        for leaf in (_leaves(exc) if isinstance(exc, BaseExceptionGroup) else [exc])
    ]
