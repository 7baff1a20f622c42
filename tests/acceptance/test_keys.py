"""Retiring an encryption key through the program: everything moves to the new one."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.sql import SQL, Identifier

from tests.support.application import new_key
from tests.support.catalog import SMALL
from tests.support.platform import Platform, can_connect, new_id
from tests.support.process import PASSWORD, USERNAME, free_port, run_program, running_broker

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import PostgresServer

Environ = dict[str, str]


def ring(environ: Environ, *keys: str) -> Environ:
    """Return an environment with other keys."""
    return environ | {"PGBROKER_ENCRYPTION_KEYS": ",".join(keys)}


def used(environ: Environ) -> dict[str, Any]:
    """Return what each key is needed for, as the program tells."""
    done = run_program("keys", "list", "--json", environ=environ)
    assert done.returncode == 0, done.stderr
    for secret in environ["PGBROKER_ENCRYPTION_KEYS"].split(","):
        assert secret.partition(":")[2] not in done.stdout
    return {row["id"]: row for row in json.loads(done.stdout)}


def tag_keys(postgres: PostgresServer, state_dsn: str) -> set[str]:
    """Return the ids of the keys that the comments of this broker's things were made with."""
    with psycopg.connect(state_dsn) as state:
        names = state.execute(
            "SELECT database FROM pgbroker.instances UNION SELECT owner FROM pgbroker.instances "
            "UNION SELECT login FROM pgbroker.bindings"
        ).fetchall()
    with psycopg.connect(postgres.superuser_dsn()) as server:
        comments = server.execute(
            "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = ANY (%(n)s) "
            "UNION ALL SELECT shobj_description(oid, 'pg_database') FROM pg_database "
            "WHERE datname = ANY (%(n)s)",
            {"n": [name for (name,) in names]},
        ).fetchall()
    assert len(comments) == len(names) + len([n for (n,) in names if re.fullmatch(r"d\w{16}", n)])
    return {comment.split(":")[2] for (comment,) in comments}


def interrupted_rotation(environ: Environ, state_dsn: str) -> None:
    """Leave what a crash between the server's commit and the state's leaves."""
    assert run_program("keys", "rotate", environ=environ).returncode == 0
    with psycopg.connect(state_dsn, autocommit=True) as state:
        state.execute("UPDATE pgbroker.instances SET tag_key_id = 'old'")


def test_a_key_is_retired(
    with_all_plans: Environ, postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> None:
    """After `keys rotate` nothing needs the old key: the broker runs, recognises and deletes."""
    old, new = new_key("old"), new_key("new")
    log = tmp_path / "broker.log"
    with (
        running_broker(ring(with_all_plans, old), log) as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        bound = [platform.bound() for _ in range(2)]
    bind = {"PGBROKER_BIND": f"127.0.0.1:{free_port()}"}
    missing = run_program("serve", environ=ring(with_all_plans, new) | bind)
    assert missing.returncode != 0
    assert "not configured: old" in missing.stderr

    both = ring(with_all_plans, new, old)
    before = used(both)
    assert before["old"]["uses"] == {"secrets of bindings": 2, "tags of instances": 2}
    assert not before["old"]["removable"]
    assert tag_keys(postgres, state_dsn) == {"old"}
    assert used(ring(with_all_plans, new_key("old")))["old"]["status"] == "wrong"
    done = run_program("keys", "rotate", environ=both)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tags written anew: 2 of 2" in done.stdout
    assert used(both)["old"]["removable"]
    assert tag_keys(postgres, state_dsn) == {"new"}
    assert run_program("keys", "rotate", environ=both).returncode == 0

    with (
        running_broker(ring(with_all_plans, new), log) as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        for instance, binding, credentials in bound:
            assert platform.bind(instance, binding).json()["credentials"] == credentials
            assert can_connect(platform.credentials(instance, new_id()))
            changed = platform.update(instance, parameters={"extensions": ["hstore"]})
            assert changed.status_code == 200
            assert platform.unbind(instance, binding).status_code == 200
            assert platform.deprovision(instance, SMALL).status_code == 200


def test_an_interrupted_rotation_goes_on(
    with_all_plans: Environ, postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> None:
    """Tags that were written without being recorded are recorded by the next run."""
    old, new = new_key("old"), new_key("new")
    both = ring(with_all_plans, new, old)
    with (
        running_broker(ring(with_all_plans, old), tmp_path / "broker.log") as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        instance, binding, _ = platform.bound()
    interrupted_rotation(both, state_dsn)
    assert run_program("keys", "rotate", environ=both).returncode == 0
    assert "old" in used(both)
    assert used(both)["old"]["removable"]
    with (
        running_broker(ring(with_all_plans, new), tmp_path / "broker.log") as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        assert platform.unbind(instance, binding).status_code == 200
        assert platform.deprovision(instance).status_code == 200


def test_what_is_not_ours_is_not_tagged(
    with_all_plans: Environ, postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> None:
    """A database whose tag somebody has changed is named, left as it is, and keeps the key."""
    old, new = new_key("old"), new_key("new")
    both = ring(with_all_plans, new, old)
    with (
        running_broker(ring(with_all_plans, old), tmp_path / "broker.log") as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        _, _, credentials = platform.bound()
    database = psycopg.sql.Identifier(credentials["database"])
    comment = psycopg.sql.SQL("COMMENT ON DATABASE {} IS 'mine'").format(database)
    with psycopg.connect(postgres.superuser_dsn(), autocommit=True) as server:
        server.execute(comment)
    done = run_program("keys", "rotate", environ=both)
    assert done.returncode == 1
    assert credentials["database"] in done.stdout.replace("\n", "")
    assert used(both)["old"]["uses"] == {"tags of instances": 1}
    with psycopg.connect(postgres.superuser_dsn(), autocommit=True) as server:
        told = server.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
            [credentials["database"]],
        ).fetchone()
    assert told == ("mine",)


def test_a_deletion_that_failed_between_two_runs(
    with_all_plans: Environ, postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> None:
    """An instance that could not be deleted for its new tags is recorded, and can be deleted."""
    old, new = new_key("old"), new_key("new")
    both = ring(with_all_plans, new, old)
    with (
        running_broker(ring(with_all_plans, old), tmp_path / "broker.log") as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        instance, _, _ = platform.bound()
    interrupted_rotation(both, state_dsn)
    with (
        running_broker(both, tmp_path / "broker.log") as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        assert platform.deprovision(instance).status_code == 500
        again = run_program("keys", "rotate", environ=both)
        assert again.returncode == 0, again.stdout + again.stderr
        assert platform.deprovision(instance).status_code == 200
    assert used(both)["old"]["removable"]


def test_what_cannot_be_moved_to_the_new_key_is_named(
    with_all_plans: Environ, postgres: PostgresServer, state_dsn: str, tmp_path: Path
) -> None:
    """An instance that is half deleted keeps its tags; it is named, and deleting it helps."""
    old, new = new_key("old"), new_key("new")
    both = ring(with_all_plans, new, old)
    with (
        running_broker(ring(with_all_plans, old), tmp_path / "broker.log") as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        instance, _, credentials = platform.bound()
        with psycopg.connect(postgres.superuser_dsn(), autocommit=True) as superuser:
            name = Identifier(credentials["database"])
            superuser.execute(SQL("COMMENT ON DATABASE {} IS 'mine'").format(name))
            assert platform.deprovision(instance).status_code == 500
            superuser.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(name))
    left = run_program("keys", "rotate", environ=both)
    assert left.returncode == 1
    assert f"left: instance {instance} of" in left.stdout
    assert "Delete it on its platform" in left.stdout
    with (
        running_broker(both, tmp_path / "broker.log") as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        assert platform.deprovision(instance).status_code == 200
    assert run_program("keys", "rotate", environ=both).returncode == 0
    assert used(both)["old"]["removable"]
