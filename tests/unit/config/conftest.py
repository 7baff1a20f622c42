"""A configuration that works, to be spoilt one thing at a time."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SERVERS = """\
servers:
  - name: main
    admin_dsn: postgresql://admin:admin-secret@10.0.0.5/pgbroker
    host: db.example.com
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return the smallest environment that makes settings."""
    servers = tmp_path / "servers.yaml"
    servers.write_text(SERVERS)
    return {
        "PATH": "/usr/bin",
        "PGBROKER_STATE_DSN": "postgresql://broker:state-secret@10.0.0.4/state",
        "PGBROKER_SERVERS_FILE": str(servers),
        "PGBROKER_USERNAME": "platform",
        "PGBROKER_PASSWORD": "a-long-password",
        "PGBROKER_ENCRYPTION_KEYS": f"k1:{base64.b64encode(bytes(range(32))).decode()}",
    }
