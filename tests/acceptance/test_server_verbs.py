"""``pgbroker servers list|cordon|uncordon|drain-plan``, beside a broker that serves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.platform import Platform, new_id
from tests.support.postgres import BROKER_ROLE
from tests.support.process import PASSWORD, USERNAME, BrokerProcess, run_program, running_broker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.postgres import PostgresServer

NEWCOMER = {
    "name": "newcomer",
    "max_databases": 3,
    "max_connections": 12,
    "labels": {"disk": "nvme"},
}

CHECK = ("servers", "check")


@pytest.fixture
def two_servers(with_all_plans: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """Return the environment of a broker with two servers in its pool ``default``."""
    file = tmp_path / "servers.yaml"
    shared, other = json.loads(file.read_text("utf-8"))["servers"]
    servers = [shared | {"max_databases": 2}, shared | NEWCOMER, other]
    file.write_text(json.dumps({"servers": servers}), "utf-8")
    return with_all_plans


@pytest.fixture
def broker(two_servers: dict[str, str], tmp_path: Path) -> Iterator[BrokerProcess]:
    """Return a broker with two servers in its pool ``default``."""
    with running_broker(two_servers, tmp_path / "broker.log") as broker:
        yield broker


def _servers(environ: dict[str, str]) -> dict[str, Any]:
    done = run_program("servers", "list", "--json", environ=environ)
    assert done.returncode == 0, done.stderr
    return {server["name"]: server for server in json.loads(done.stdout)}


def _verb(environ: dict[str, str], *arguments: str, status: int = 0) -> str:
    done = run_program("servers", *arguments, environ=environ)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_pool_is_filled_cordoned_and_surveyed(
    two_servers: dict[str, str], broker: BrokerProcess, postgres: PostgresServer
) -> None:
    """New databases avoid a cordoned server, fill the others to the brim, and users learn why."""
    with Platform(broker.url, (USERNAME, PASSWORD)) as platform:
        assert "gets no new" in _verb(two_servers, "cordon", "shared", "--reason", "old disks")
        made = [platform.provisioned(), platform.provisioned()]
        servers = _servers(two_servers)
        use = servers["newcomer"]["use"]  # its storage depends on whether it was measured yet
        assert (use["databases"], use["connections"]) == (2, 10)
        assert servers["newcomer"]["capacity"]["connections"] == 12
        assert servers["newcomer"]["labels"] == {"disk": "nvme"}
        assert servers["newcomer"]["version"].startswith(str(postgres.version))
        assert servers["shared"]["cordon_reason"] == "old disks"

        refused = platform.provision(new_id())
        assert refused.status_code == 503
        reason = refused.json()["description"]
        assert "1 closed to new databases" in reason
        assert "1 with too few connections left" in reason

        assert "again" in _verb(two_servers, "uncordon", "shared")
        assert "not cordoned" in _verb(two_servers, "uncordon", "shared")
        made += [platform.provisioned(), platform.provisioned()]
        assert _servers(two_servers)["shared"]["use"]["databases"] == 2
        assert platform.provision(new_id()).status_code == 503
        table = _verb(two_servers, "list")
        assert "2 / 2" in table
        assert "10 / 12" in table

        too_large = platform.update(made[0], plan_id="5e1f0002-big")
        assert too_large.status_code == 422
        assert "too few connections" in too_large.json()["description"]
        assert platform.fetch(made[0]).json()["plan_id"] == "5e1f0001-small"
        for instance in made:
            assert platform.deprovision(instance).status_code == 200


def test_a_server_that_lets_nobody_in_says_why(
    two_servers: dict[str, str], postgres: PostgresServer, tmp_path: Path
) -> None:
    """A wrong password is told apart from a dead network, in the server's own words."""
    file = tmp_path / "servers.yaml"
    shared, newcomer, other = json.loads(file.read_text("utf-8"))["servers"]
    wrong = "a-password-that-is-wrong"
    newcomer["admin_dsn"] = postgres.dsn(BROKER_ROLE, wrong, BROKER_ROLE)
    other["admin_dsn"] = f"postgresql://{BROKER_ROLE}@127.0.0.1:1/{BROKER_ROLE}"
    file.write_text(json.dumps({"servers": [shared, newcomer, other]}), "utf-8")
    servers = _servers(two_servers)
    assert servers["shared"]["unreachable_because"] is None
    assert "password authentication failed" in servers["newcomer"]["unreachable_because"]
    assert "refused" in servers["other"]["unreachable_because"]
    table = _verb(two_servers, "list")
    assert "password authentication failed" in table
    assert wrong not in table
    for verb in (("reconcile",), ("recover", "--from-servers"), ("storage", "check"), CHECK):
        done = run_program(*verb, "--json", environ=two_servers)
        assert isinstance(json.loads(done.stdout), list | dict), verb
        assert done.returncode == 1, verb


def test_a_drain_plan_says_where_everything_fits(
    two_servers: dict[str, str], broker: BrokerProcess
) -> None:
    """Each instance has a place or a reason why not, and none has been moved."""
    with Platform(broker.url, (USERNAME, PASSWORD)) as platform:
        _verb(two_servers, "cordon", "newcomer")
        made = [platform.provisioned(), platform.provisioned()]
        _verb(two_servers, "uncordon", "newcomer")
        plan = json.loads(_verb(two_servers, "drain-plan", "shared", "--json"))
        assert plan["fits"]
        assert {move["instance_id"] for move in plan["moves"]} == set(made)
        assert {move["to"] for move in plan["moves"]} == {"newcomer"}
        assert all(move["size"] > 1_000_000 for move in plan["moves"])
        assert plan["added"]["newcomer"]["connections"] == 10

        _verb(two_servers, "cordon", "newcomer")
        refused = _verb(two_servers, "drain-plan", "shared", status=1)
        assert "2 of 2 instances fit on no other server" in refused
        assert _servers(two_servers)["shared"]["use"]["databases"] == 2
        for instance in made:
            assert platform.deprovision(instance).status_code == 200
        assert "no instances" in _verb(two_servers, "drain-plan", "shared")


def test_an_unknown_server_is_named(two_servers: dict[str, str], state_dsn: str) -> None:
    """A typing mistake is told with the names that there are, and changes nothing."""
    for verb in ("cordon", "uncordon", "drain-plan"):
        assert "shared, newcomer, other" in _verb(two_servers, verb, "nemcomer", status=1)
    assert not any(server["cordoned"] for server in _servers(two_servers).values())
