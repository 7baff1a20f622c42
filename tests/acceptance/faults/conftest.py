"""A fleet of each worker's own: nobody else's databases or roles are on its server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.application import cloned_database
from tests.support.faults_fleet import Fleet, a_fleet
from tests.support.faults_servers import OwnServer, own_server
from tests.support.postgres import PostgresServer, running_server
from tests.support.state import migrated_template, state_dsn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

__all__ = ["migrated_template", "state_dsn"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Return a server, in place of the one that all other tests share."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="session")
def worker_fleet(
    postgres: PostgresServer, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Return the worker's fleet."""
    with cloned_database(postgres, migrated_template) as dsn:
        fleet = a_fleet(postgres, dsn, tmp_path_factory.mktemp("fleet"))
        try:
            asyncio.run(fleet.survivor.start())
            yield fleet
        finally:
            fleet.end()


@pytest.fixture
async def fleet(worker_fleet: Fleet) -> AsyncIterator[Fleet]:
    """Return the worker's fleet, ready for a test."""
    await worker_fleet.begin()
    yield worker_fleet
    worker_fleet.failpoints.disarm()
    worker_fleet.failing.thaw()


@pytest.fixture
async def hasty_fleet(
    postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> AsyncIterator[Fleet]:
    """Return a fleet whose requests wait a second for their operation."""
    fleet = a_fleet(postgres, state_dsn, tmp_path, SYNC_WINDOW_SECONDS="1")
    try:
        await fleet.begin()
        yield fleet
    finally:
        fleet.end()


@pytest.fixture
async def fragile(servers: Path) -> AsyncIterator[OwnServer]:
    """Return a server that the test may stop and kill."""
    async with own_server(servers / "fragile") as server:
        yield server


@pytest.fixture
async def fragile_fleet(fragile: OwnServer, state_dsn: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Return a fleet with its tenants on the fragile server."""
    fleet = a_fleet(fragile.postgres, state_dsn, tmp_path, SYNC_WINDOW_SECONDS="1")
    try:
        await fleet.begin()
        yield fleet
    finally:
        fleet.end()
