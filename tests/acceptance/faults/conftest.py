"""A fleet of each worker's own: nobody else's databases or roles are on its server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.faults_fleet import Fleet, running_fleet
from tests.support.postgres import PostgresServer, running_server
from tests.support.state import migrated_template

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["migrated_template"]


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
    with running_fleet(postgres, migrated_template, tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest.fixture
async def fleet(worker_fleet: Fleet) -> AsyncIterator[Fleet]:
    """Return the worker's fleet, ready for a test."""
    await worker_fleet.begin()
    yield worker_fleet
    worker_fleet.failpoints.disarm()
