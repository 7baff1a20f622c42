"""What every test can ask for.

One PostgreSQL server serves the whole run: the process that starts the workers owns it and tells
them where it is, so that a worker that dies takes nothing along.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.postgres import PostgresServer, running_server, server_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_RUN = pytest.StashKey[ExitStack]()
_SERVER = pytest.StashKey[PostgresServer]()


def pytest_configure(config: pytest.Config) -> None:
    """Remember what has to be ended with the run."""
    config.stash[_RUN] = ExitStack()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the server; pytest calls this after an interrupted run, too."""
    if _RUN in config.stash:
        config.stash[_RUN].close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of pytest-xdist where the server is."""
    node.workerinput["postgres"] = _server(node.config).to_plain()


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> PostgresServer:
    """Return the run's server, prepared for the broker's role; all tests share it."""
    return _server(request.config)


@pytest.fixture
def servers() -> Iterator[Path]:
    """Return a directory that a test's own servers can live in, whoever they run as."""
    with server_directory() as directory:
        yield directory


def _server(config: pytest.Config) -> PostgresServer:
    if _SERVER not in config.stash:
        told = getattr(config, "workerinput", {}).get("postgres")
        config.stash[_SERVER] = (
            PostgresServer.from_plain(told)
            if told
            else config.stash[_RUN].enter_context(running_server())
        )
    return config.stash[_SERVER]
