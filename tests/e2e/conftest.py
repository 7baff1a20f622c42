"""A Kubernetes cluster with Service Catalog, and a broker that is registered with it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.e2e.broker import Broker, configured_broker
from tests.e2e.cluster.control_plane import control_plane
from tests.e2e.cluster.programs import ProgramsMissingError, find_programs
from tests.e2e.cluster.service_catalog import service_catalog
from tests.e2e.walkthrough import register
from tests.support.application import cloned_database
from tests.support.state import migrated_template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.cluster.kubectl import Cluster
    from tests.e2e.cluster.programs import Programs
    from tests.support.postgres import PostgresServer

__all__ = ["migrated_template"]

_FIGURES = pytest.StashKey[list[str]]()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print what was measured."""
    for line in config.stash.get(_FIGURES, []):
        terminalreporter.write_line(line)


@pytest.fixture
def report(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Return a function that keeps a line for the end of the run."""
    return pytestconfig.stash.setdefault(_FIGURES, []).append


@pytest.fixture(scope="session")
def programs() -> Programs:
    """Return the programs of the control plane; they are built when they have to be."""
    try:
        return find_programs()
    except ProgramsMissingError as error:
        pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="session")
def cluster(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Return a running cluster, as its administrator; ``kubeconfig`` is an attribute of it."""
    with control_plane(programs, tmp_path_factory.mktemp("control-plane")) as running:
        yield running


@pytest.fixture(scope="session")
def catalog_cluster(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Return the cluster, with Service Catalog."""
    with service_catalog(cluster, tmp_path_factory.mktemp("service-catalog")):
        yield cluster


@pytest.fixture(scope="session")
def broker_installation(
    postgres: PostgresServer, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Broker]:
    """Return a configured broker, whether it runs or not."""
    with cloned_database(postgres, migrated_template) as state_dsn:
        broker = configured_broker(postgres, state_dsn, tmp_path_factory.mktemp("broker"))
        yield broker
        broker.stop()


@pytest.fixture(scope="session")
def registration(catalog_cluster: Cluster, broker_installation: Broker) -> Cluster:
    """Return the cluster, with the broker registered by the walkthrough's first manifest."""
    broker_installation.start()
    catalog_cluster.kubectl("create", "namespace", "pgbroker")
    register(catalog_cluster, broker_installation)
    return catalog_cluster


@pytest.fixture
def broker(registration: Cluster, broker_installation: Broker) -> Iterator[Broker]:
    """Return the registered broker, running; it runs again after a test that has ended it."""
    yield broker_installation
    if not broker_installation.is_running:
        broker_installation.start()


@pytest.fixture
def namespace(registration: Cluster, broker: Broker) -> Iterator[Cluster]:
    """Return a developer's namespace of this test's own, empty again afterwards."""
    name = f"team-{secrets.token_hex(4)}"
    registration.kubectl("create", "namespace", name)
    context = registration.within(name)
    yield context
    if not broker.is_running:
        broker.start()  # nothing can be deleted without it
    for kind in ("servicebindings", "serviceinstances"):
        # What has failed is deleted when Service Catalog looks again; it waits longer each time.
        context.kubectl("delete", kind, "--all", "--timeout=240s")
    registration.kubectl("delete", "namespace", name, "--wait=false")
