"""The commands around ``pgbroker serve``, as programs: what they say, and with which status."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from tests.support.process import PASSWORD, environment, run_program
from tests.support.state import empty_dsn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.postgres import PostgresServer

__all__ = ["empty_dsn"]

CATALOG = Path(__file__).parents[2] / "catalog.yaml"


@pytest.fixture
def newcomer(postgres: PostgresServer, tmp_path: Path) -> Iterator[Path]:
    """Return a servers file whose one server does not know the broker's role yet."""
    name = f"cli_{secrets.token_hex(6)}"
    server = {
        "name": "main",
        "admin_dsn": postgres.dsn(name, PASSWORD, name),
        "host": postgres.host,
        "port": postgres.port,
    }
    file = tmp_path / "servers.yaml"
    file.write_text(json.dumps({"servers": [server]}), "utf-8")
    yield file
    with psycopg.connect(postgres.superuser_dsn(), autocommit=True) as superuser:
        superuser.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
        if superuser.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).rowcount:
            superuser.execute(SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(Identifier(name)))


def test_a_good_catalog_is_shown() -> None:
    """The catalog that comes along is in order, and its plans are listed."""
    done = run_program("catalog", "check", str(CATALOG))
    assert done.returncode == 0, done.stdout + done.stderr
    for plan in ("free", "standard", "large"):
        assert plan in done.stdout


def test_a_bad_catalog_is_refused_with_its_lines(tmp_path: Path) -> None:
    """Every mistake is named with the line it is on."""
    file = tmp_path / "catalog.yaml"
    text = CATALOG.read_text("utf-8")
    text = text.replace("free: true", "free: perhaps", 1).replace("update_to:", "updateto:", 1)
    file.write_text(text, "utf-8")
    wrong = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip().startswith(("free: perhaps", "updateto:"))
    ]
    done = run_program("catalog", "check", str(file))
    assert done.returncode == 1
    assert len(wrong) == 2
    for number in wrong:
        assert f"catalog.yaml:{number}" in done.stdout + done.stderr


def test_migrate_can_be_repeated(postgres: PostgresServer, empty_dsn: str, tmp_path: Path) -> None:
    """An empty state database gets its tables, and a second run finds nothing to do."""
    environ = environment(postgres, empty_dsn, tmp_path)
    for _ in range(2):
        done = run_program("migrate", environ=environ)
        assert done.returncode == 0, done.stdout + done.stderr
    with psycopg.connect(empty_dsn) as state:
        assert state.execute("SELECT count(*) FROM pgbroker.instances").fetchone() == (0,)


def test_a_server_is_prepared_and_checked(
    newcomer: Path, postgres: PostgresServer, tmp_path: Path
) -> None:
    """Before it is prepared the check fails and says so; afterwards nothing is missing."""
    unnamed = run_program("servers", "check", environ={})
    assert unnamed.returncode == 2
    assert "PGBROKER_SERVERS_FILE" in unnamed.stderr
    check = ("servers", "check", str(newcomer))
    before = run_program(*check)
    assert before.returncode == 1
    assert "main" in before.stdout + before.stderr
    (report,) = json.loads(run_program(*check, "--json").stdout)
    assert report["server"] == "main"
    assert {finding["severity"] for finding in report["findings"]} >= {"error"}

    superuser = tmp_path / "superuser.dsn"
    superuser.write_text(postgres.superuser_dsn(), "utf-8")
    prepare = ("servers", "prepare", "main", "--file", str(newcomer))
    done = run_program(*prepare, "--superuser-dsn-file", str(superuser))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "pgbroker servers check" in done.stdout

    after = run_program(*check)
    assert after.returncode == 0, after.stdout + after.stderr
    assert not any(
        finding["severity"] == "error"
        for report in json.loads(run_program(*check, "--json").stdout)
        for finding in report["findings"]
    )
    for program in (before, done, after):
        assert PASSWORD not in program.stdout + program.stderr


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """``serve`` names each variable and file that is wrong, repeats no secret, and ends."""
    servers = tmp_path / "servers.yaml"
    servers.write_text("servers:\n  - name: main\n    prot: 5432\n", "utf-8")
    secret = "canary-7f3a"
    done = run_program(
        "serve",
        environ={
            "PGBROKER_SERVERS_FILE": str(servers),
            "PGBROKER_CATALOG_FILE": str(tmp_path / "nowhere.yaml"),
            "PGBROKER_USERNAME": "olivia",
            "PGBROKER_PASSWORD": secret[:5],
            "PGBROKER_ENCRYPTION_KEYS": f"k1:{secret}",
            "PGBROKER_BIND": "everywhere",
        },
    )
    said = done.stdout + done.stderr
    assert done.returncode == 1
    for wrong in (
        "PGBROKER_STATE_DSN",
        "servers.yaml:3",
        "nowhere.yaml",
        "PGBROKER_PASSWORD",
        "PGBROKER_ENCRYPTION_KEYS",
        "PGBROKER_BIND",
    ):
        assert wrong in said, said
    assert secret not in said


def test_a_role_without_rights_is_told_what_it_lacks(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    """Whoever has not made the role of the state the owner of its database is told so, shortly."""
    name = f"state_{secrets.token_hex(6)}"
    with psycopg.connect(postgres.superuser_dsn(), autocommit=True) as superuser:
        create = SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'")
        superuser.execute(create.format(Identifier(name)))
        try:
            environ = environment(postgres, postgres.broker_dsn(name), tmp_path)
            done = run_program("migrate", environ=environ)
        finally:
            superuser.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
    assert done.returncode == 1
    assert "owner of the database" in done.stderr
    assert "permission denied for database" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xce\xff"])
def test_a_superusers_file_without_a_connection_string(
    newcomer: Path, tmp_path: Path, content: bytes
) -> None:
    """Whatever else is in it, the file is named, and nobody is connected to by default."""
    file = tmp_path / "superuser.dsn"
    file.write_bytes(content)
    prepare = ("servers", "prepare", "main", "--file", str(newcomer))
    done = run_program(*prepare, "--superuser-dsn-file", str(file))
    assert done.returncode == 1
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr


def test_force_says_how_to_apply(postgres: PostgresServer, empty_dsn: str, tmp_path: Path) -> None:
    """Without --apply there is nothing to force."""
    done = run_program("reconcile", "--force", environ=environment(postgres, empty_dsn, tmp_path))
    assert done.returncode == 2
    assert "--apply" in done.stderr
