"""The program in a process of its own, with a state database of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.catalog import CATALOG
from tests.support.process import BrokerProcess, environment, running_broker
from tests.support.state import migrated_template, state_dsn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.postgres import PostgresServer

__all__ = ["migrated_template", "state_dsn"]


@pytest.fixture
def broker_environment(postgres: PostgresServer, state_dsn: str, tmp_path: Path) -> dict[str, str]:
    """Return the variables of a broker on the run's server; a test may change them."""
    return environment(postgres, state_dsn, tmp_path)


@pytest.fixture
def broker_process(broker_environment: dict[str, str], tmp_path: Path) -> Iterator[BrokerProcess]:
    """Return a running ``pgbroker serve``."""
    with running_broker(broker_environment, tmp_path / "broker.log") as broker:
        yield broker


@pytest.fixture
def with_all_plans(broker_environment: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Return the environment of a broker that has a plan for every case."""
    catalog_file, servers_file = tmp_path / "catalog.yaml", tmp_path / "servers.yaml"
    catalog_file.write_text(CATALOG, "utf-8")
    (server,) = json.loads(servers_file.read_text("utf-8"))["servers"]
    servers = [server, {**server, "name": "other", "pool": "other"}]
    servers_file.write_text(json.dumps({"servers": servers}), "utf-8")
    return broker_environment | {"PGBROKER_CATALOG_FILE": str(catalog_file)}
