"""What a broker says at its start when its state and its files do not fit together."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.catalog import CATALOG, SMALL
from tests.support.faults_waiting import until
from tests.support.platform import Platform, rows
from tests.support.process import PASSWORD, USERNAME, free_port, run_program, running_broker

if TYPE_CHECKING:
    from pathlib import Path

OTHER_PLAN = "11111111-2222-4333-8444-555555555555"


def test_instances_that_no_file_knows_are_named(
    with_all_plans: dict[str, str], tmp_path: Path
) -> None:
    """A plan or platform that was taken away while instances have it is told, with how many."""
    log, catalog_file = tmp_path / "broker.log", tmp_path / "catalog.yaml"
    login = (USERNAME, PASSWORD)
    with running_broker(with_all_plans, log) as broker, Platform(broker.url, login) as platform:
        instance, binding, _ = platform.bound(SMALL)
        assert "not in the catalog" not in broker.log_text()
        assert "not configured" not in broker.log_text()
    assert CATALOG.count(SMALL) == 1
    catalog_file.write_text(CATALOG.replace(SMALL, OTHER_PLAN), "utf-8")
    renamed = with_all_plans | {"PGBROKER_PLATFORM_NAME": "another"}
    with running_broker(renamed, log) as broker:
        asyncio.run(
            until(lambda: "platform that is not configured" in broker.log_text(), what="a warning")
        )
        lines = broker.log_text().splitlines()
    (line,) = [line for line in lines if "plan that is not in the catalog" in line]
    assert SMALL in line
    assert "error" in line
    done = run_program("reconcile", "--json", environ=with_all_plans)
    plans = {report["server"]: report["unknown_plans"] for report in json.loads(done.stdout)}
    assert plans["shared"] == {SMALL: 1}
    told = run_program("reconcile", environ=with_all_plans)
    assert f"1 instances have the plan id {SMALL}" in told.stdout
    catalog_file.write_text(CATALOG, "utf-8")
    with running_broker(with_all_plans, log) as broker, Platform(broker.url, login) as platform:
        assert platform.unbind(instance, binding).status_code == 200
        assert platform.deprovision(instance).status_code == 200


def test_a_server_that_no_file_has_is_named(with_all_plans: dict[str, str], tmp_path: Path) -> None:
    """A server that was taken out of the file while instances are on it is told."""
    log, servers_file = tmp_path / "broker.log", tmp_path / "servers.yaml"
    with (
        running_broker(with_all_plans, log) as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        instance, _, _ = platform.bound(SMALL)
        before = servers_file.read_text("utf-8")
        named = json.loads(before)["servers"]
        others = [server for server in named if server["name"] != "shared"]
        renamed = {"servers": [*others, {**named[0], "name": "renamed"}]}
        servers_file.write_text(json.dumps(renamed), "utf-8")
        done = run_program("reconcile", environ=with_all_plans)
        assert done.returncode == 1
        assert "shared: It is not in the servers file, and 1 instances are on it" in done.stderr
        with running_broker(with_all_plans, tmp_path / "second.log") as second:
            said = "not in the servers file"
            asyncio.run(until(lambda: said in second.log_text(), what="a warning"))
        servers_file.write_text(before, "utf-8")
        assert platform.deprovision(instance).status_code == 200


def test_servers_that_are_one_and_what_they_lack_are_named(
    with_all_plans: dict[str, str], tmp_path: Path
) -> None:
    """One server under two names is told, and what a plan promises and no server has."""
    log, catalog_file = tmp_path / "broker.log", tmp_path / "catalog.yaml"
    allowed = "allowed: [citext, hstore, pg_trgm]"
    assert allowed in CATALOG
    lacking = CATALOG.replace(allowed, "allowed: [citext, hstore, pg_trgm, file_fdw]", 1)
    catalog_file.write_text(lacking, "utf-8")
    with running_broker(with_all_plans, log) as broker:
        asyncio.run(until(lambda: "a server lacks extensions" in broker.log_text(), what="a word"))
        lines = broker.log_text().splitlines()
    (line,) = [line for line in lines if "a server lacks extensions" in line]
    assert "file_fdw" in line
    assert "citext" not in line
    (line,) = [line for line in lines if "one server under several names" in line]
    assert "shared" in line
    assert "other" in line


def test_several_hosts_lead_to_the_one_that_takes_writes(
    with_all_plans: dict[str, str], tmp_path: Path
) -> None:
    """A host on which nobody listens comes first: the state database and the server are found."""
    servers_file = tmp_path / "servers.yaml"
    servers = json.loads(servers_file.read_text("utf-8"))["servers"]
    several = [server | {"admin_dsn": _several(server["admin_dsn"])} for server in servers]
    servers_file.write_text(json.dumps({"servers": several}), "utf-8")
    state = {"PGBROKER_STATE_DSN": _several(with_all_plans["PGBROKER_STATE_DSN"])}
    with (
        running_broker(with_all_plans | state, tmp_path / "broker.log") as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        instance, binding, app = platform.bound(SMALL)
        assert rows(app, "SELECT 1") == [(1,)]
        assert platform.unbind(instance, binding).status_code == 200
        assert platform.deprovision(instance).status_code == 200
        assert "server is not as it should be" not in broker.log_text()


def _several(dsn: str) -> str:
    """Return a DSN with another host first, on which nobody listens."""
    parts = conninfo_to_dict(dsn)
    host, port = parts["host"], parts["port"]
    several = {"host": f"{host},{host}", "port": f"{free_port()},{port}"}
    return make_conninfo(dsn, **several, target_session_attrs="read-write")
