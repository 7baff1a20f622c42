"""A broker of each worker's own, and two platforms that use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.store import PostgresStore
from tests.support.application import (
    CLOUDFOUNDRY,
    KUBERNETES,
    Application,
    Footprint,
    Observer,
    cloned_database,
    running_application,
    settings_for,
)
from tests.support.platform import Platform
from tests.support.state import migrated_template, state_dsn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.support.postgres import PostgresServer

__all__ = ["migrated_template", "state_dsn"]


@pytest.fixture(scope="session")
def application(
    postgres: PostgresServer, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Application]:
    """Return a running broker."""
    with cloned_database(postgres, migrated_template) as state_dsn:
        settings = settings_for(postgres, state_dsn, tmp_path_factory.mktemp("broker"))
        with running_application(settings) as application:
            yield application


@pytest.fixture(scope="session")
def kubernetes(application: Application) -> Iterator[Platform]:
    """Return a platform."""
    with Platform(application.url, KUBERNETES) as platform:
        yield platform


@pytest.fixture(scope="session")
def cloudfoundry(application: Application) -> Iterator[Platform]:
    """Return another platform."""
    with Platform(application.url, CLOUDFOUNDRY) as platform:
        yield platform


@pytest.fixture(scope="session")
def existing(kubernetes: Platform) -> tuple[str, str]:
    """Return the ids of an instance and a binding of the platform ``kubernetes``, to be kept."""
    instance, binding, _ = kubernetes.bound()
    return instance, binding


@pytest.fixture(scope="session")
def kept(application: Application, postgres: PostgresServer) -> Iterator[Callable[[], Footprint]]:
    """Return what looks at everything the broker keeps."""
    with Observer(application, postgres) as observer:
        yield observer.look


@pytest.fixture
async def store(application: Application) -> AsyncIterator[PostgresStore]:
    """Return the broker's state, to record in it what another process would have recorded."""
    store = PostgresStore(application.settings.state_dsn.reveal(), application.keys)
    yield store
    await store.close()


@pytest.fixture
def unchanged(kept: Callable[[], Footprint]) -> Iterator[None]:
    """Prove that the test has changed nothing, in the state or on the server."""
    before = kept()
    yield
    assert kept() == before
