"""The periodic work: which chores there are, and when each is due."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from broker.bootstrap.assembly import wire
from broker.bootstrap.upkeep import chores
from broker.config import load_settings
from tests.support.catalog import CATALOG

if TYPE_CHECKING:
    from pathlib import Path

MINUTELY = "* * * * *"


def test_the_periodic_work(tmp_path: Path) -> None:
    """Nothing that has to be done from time to time is left out; the names are the queue's."""
    servers = [
        {"name": pool, "pool": pool, "admin_dsn": "postgresql://x:y@127.0.0.1/z", "host": "h"}
        for pool in ("default", "other")
    ]
    (tmp_path / "servers.yaml").write_text(json.dumps({"servers": servers}), "utf-8")
    (tmp_path / "catalog.yaml").write_text(CATALOG, "utf-8")
    settings = load_settings(
        {
            "PGBROKER_STATE_DSN": "postgresql://x:y@127.0.0.1/z",
            "PGBROKER_SERVERS_FILE": str(tmp_path / "servers.yaml"),
            "PGBROKER_CATALOG_FILE": str(tmp_path / "catalog.yaml"),
            "PGBROKER_USERNAME": "olivia",
            "PGBROKER_PASSWORD": "operators-password-1",
            "PGBROKER_ENCRYPTION_KEYS": f"k:{base64.b64encode(bytes(range(32))).decode()}",
        }
    )
    assert {chore.name: chore.every for chore in chores(settings, wire(settings))} == {
        "forget_operations": "*/10 * * * *",
        "purge_deleted_instances": MINUTELY,
        "enforce_storage_limits": MINUTELY,
        "keep_warm_stock": "* * * * * */20",
        "reconcile": "23 * * * *",
        "first_look": MINUTELY,
        "end_expired_sessions": MINUTELY,
        "remove_expired_bindings": MINUTELY,
    }
