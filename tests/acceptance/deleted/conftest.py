"""A broker whose plans keep what is deleted, and the platforms that use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

from broker.bootstrap.assembly import Wiring, wire
from broker.config import load_settings
from broker.store import EncryptedTags, PostgresStore
from tests.acceptance.deleted.catalog import CATALOG
from tests.acceptance.deleted.kept import Server
from tests.support.application import (
    CLOUDFOUNDRY,
    KUBERNETES,
    Application,
    Footprint,
    Observer,
    cloned_database,
    running_application,
    variables_for,
)
from tests.support.platform import Platform
from tests.support.state import migrated_template, state_dsn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.support.postgres import PostgresServer

__all__ = ["migrated_template", "state_dsn"]


@pytest.fixture(scope="session")
def keeping_environment(
    postgres: PostgresServer, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Return the variables of a broker with a state database of each worker's own."""
    with cloned_database(postgres, migrated_template) as dsn:
        yield variables_for(postgres, dsn, tmp_path_factory.mktemp("keeping"), catalog=CATALOG)


@pytest.fixture(scope="session")
def application(keeping_environment: dict[str, str]) -> Iterator[Application]:
    """Return a running broker."""
    with running_application(load_settings(keeping_environment)) as application:
        yield application


@pytest.fixture(scope="session")
def kubernetes(application: Application) -> Iterator[Platform]:
    """Return a platform, all of whose instances are in one place if nothing else is said."""
    place = {"platform": "kubernetes", "clusterid": "c1", "namespace": "default"}
    with Platform(application.url, KUBERNETES, context=place) as platform:
        yield platform


@pytest.fixture(scope="session")
def cloudfoundry(application: Application) -> Iterator[Platform]:
    """Return another platform."""
    with Platform(application.url, CLOUDFOUNDRY) as platform:
        yield platform


@pytest.fixture
def server(application: Application, postgres: PostgresServer) -> Iterator[Server]:
    """Return the server, past the broker."""
    with psycopg.connect(postgres.superuser_dsn(), autocommit=True) as connection:
        yield Server(connection, EncryptedTags(application.keys))


@pytest.fixture
async def store(application: Application) -> AsyncIterator[PostgresStore]:
    """Return the broker's state."""
    store = PostgresStore(application.settings.state_dsn.reveal(), application.keys)
    yield store
    await store.close()


@pytest.fixture
async def wiring(application: Application) -> AsyncIterator[Wiring]:
    """Return another replica's innards, with the same state and the same server."""
    wiring = wire(application.settings)
    async with wiring.opened():
        yield wiring


@pytest.fixture(scope="session")
def kept(application: Application, postgres: PostgresServer) -> Iterator[Callable[[], Footprint]]:
    """Return what looks at everything the broker keeps."""
    with Observer(application, postgres) as observer:
        yield observer.look


@pytest.fixture
def unchanged(kept: Callable[[], Footprint]) -> Iterator[None]:
    """Prove that the test has changed nothing but the history of operations."""
    before = kept().things()
    yield
    assert kept().things() == before
