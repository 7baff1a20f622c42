"""``pgbroker instances list``: from a name in PostgreSQL's log to whose it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.support.platform import Platform
from tests.support.process import PASSWORD, USERNAME, run_program, running_broker

if TYPE_CHECKING:
    from pathlib import Path


def test_an_instance_is_found_by_its_database_and_its_roles(
    with_all_plans: dict[str, str], tmp_path: Path
) -> None:
    """A database, its owner and a login of it lead to the instance; another name to none."""
    with (
        running_broker(with_all_plans, tmp_path / "broker.log") as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        instance, _, credentials = platform.bound()
        other = platform.provisioned()
        database, login = credentials["database"], credentials["username"]
        for name in (database, f"{database}_owner", login):
            shown = run_program("instances", "list", name, "--json", environ=with_all_plans)
            assert shown.returncode == 0, shown.stderr
            (found,) = json.loads(shown.stdout)
            assert (found["instance_id"], found["database"]) == (instance, database)
            assert (found["plan"], found["bindings"], found["status"]) == ("small", 1, "ready")
        table = run_program("instances", "list", environ=with_all_plans).stdout
        assert [line.split()[0] for line in table.splitlines()[1:]] == sorted([instance, other])
        unknown = run_program("instances", "list", "nemo", environ=with_all_plans)
        assert unknown.returncode == 1
        assert "nemo" in unknown.stdout
        for each in (instance, other):
            assert platform.deprovision(each).status_code == 200
