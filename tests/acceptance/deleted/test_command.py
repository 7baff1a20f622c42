"""``pgbroker instances``, the program itself, beside a running broker."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from broker.domain.names import retained_name
from tests.acceptance.deleted.kept import deleted_with_data, word_of
from tests.support.application import new_key
from tests.support.platform import new_id, rows
from tests.support.process import run_program

if TYPE_CHECKING:
    from collections.abc import Callable
    from subprocess import CompletedProcess

    from tests.acceptance.deleted.kept import Server
    from tests.support.platform import Platform


@pytest.fixture
def command(keeping_environment: dict[str, str]) -> Callable[..., CompletedProcess[str]]:
    """Return what runs ``pgbroker instances`` with the broker's own settings."""

    def run(*arguments: str) -> CompletedProcess[str]:
        return run_program("instances", *arguments, environ=keeping_environment)

    return run


@pytest.fixture
def listed(command: Callable[..., CompletedProcess[str]]) -> Callable[[str], dict[str, Any]]:
    """Return what looks up the deletion of an instance in the list for programs."""

    def look(instance: str) -> dict[str, Any]:
        done = command("deleted", "--json")
        assert done.returncode == 0, done.stderr
        (found,) = (one for one in json.loads(done.stdout) if one["instance_id"] == instance)
        assert isinstance(found, dict)
        return found

    return look


def test_what_is_kept_is_listed(
    kubernetes: Platform,
    command: Callable[..., CompletedProcess[str]],
    listed: Callable[[str], dict[str, Any]],
) -> None:
    """For programs with every field, and as a table with the ids that the other commands take."""
    instance, credentials = deleted_with_data(kubernetes, "listed")
    found = listed(instance)
    assert found["platform"] == "kubernetes"
    assert (found["plan"], found["server"], found["state"]) == ("keeping", "alpha", "retained")
    assert found["database"] == retained_name(credentials["database"])
    assert found["deleted_at"] < found["purge_at"]
    table = command("deleted")
    assert table.returncode == 0, table.stderr
    (line,) = (line for line in table.stdout.splitlines() if found["id"] in line)
    assert instance in line
    assert "retained" in line


@pytest.mark.parametrize("verb", ["undelete", "purge"])
def test_an_id_of_an_instance_is_not_one_of_a_deletion(
    command: Callable[..., CompletedProcess[str]], verb: str
) -> None:
    """Whoever names the instance is told where the right id is."""
    done = command(verb, "my-instance")
    assert done.returncode == 2
    assert "pgbroker instances deleted" in " ".join(done.stderr.replace("│", " ").split())


def test_what_is_gone_is_not_put_back(
    kubernetes: Platform,
    server: Server,
    command: Callable[..., CompletedProcess[str]],
    listed: Callable[[str], dict[str, Any]],
) -> None:
    """When somebody has dropped what is kept, that is said, to users and operators; it stays so."""
    instance, credentials = deleted_with_data(kubernetes, "gone")
    found = listed(instance)
    server.drop(found["database"])
    done = command("undelete", found["id"])
    assert done.returncode == 1
    assert found["database"] in done.stderr
    assert f"pgbroker instances purge {found['id']}" in done.stderr
    refused = kubernetes.provision(new_id(), parameters={"restore_from_instance": instance})
    assert refused.status_code == 422
    assert "not on its server any more" in refused.json()["description"]
    assert listed(instance) == found
    assert kubernetes.fetch(instance).status_code == 404
    assert command("purge", found["id"], "--yes").returncode == 0
    assert not server.roles(credentials["database"])


def test_an_instance_is_put_back(
    kubernetes: Platform,
    command: Callable[..., CompletedProcess[str]],
    listed: Callable[[str], dict[str, Any]],
) -> None:
    """It is there again with its data, to be created, bound and deleted by the platform."""
    instance, credentials = deleted_with_data(kubernetes, "undeleted")
    deletion = listed(instance)["id"]
    done = command("undelete", deletion)
    assert done.returncode == 0, done.stderr
    assert f"The instance {instance} of the platform kubernetes is back." in done.stdout
    assert "still believes that it is deleted" in done.stdout
    assert kubernetes.provision(instance).status_code == 200
    assert kubernetes.fetch(instance).status_code == 200
    after = kubernetes.credentials(instance, new_id())
    assert word_of(after) == "undeleted"
    assert after["database"] == credentials["database"]
    again = command("undelete", deletion)
    assert again.returncode == 1
    assert "No deleted instance with the id" in again.stderr
    assert kubernetes.deprovision(instance).status_code == 200
    assert listed(instance)["id"] != deletion


def test_an_id_that_is_taken_is_left_alone(
    kubernetes: Platform,
    command: Callable[..., CompletedProcess[str]],
    listed: Callable[[str], dict[str, Any]],
) -> None:
    """Undelete refuses, names the way out, and changes neither of the two."""
    instance, _ = deleted_with_data(kubernetes, "taken")
    assert kubernetes.provision(instance).status_code == 201
    credentials = kubernetes.credentials(instance, new_id())
    found = listed(instance)
    refused = command("undelete", found["id"])
    assert refused.returncode == 1
    assert f"restore_from_instance={instance}" in refused.stderr.replace("\n", " ")
    assert listed(instance) == found
    assert rows(credentials, "SELECT to_regclass('words')") == [(None,)]


def test_data_is_dropped_before_its_time(
    kubernetes: Platform,
    server: Server,
    command: Callable[..., CompletedProcess[str]],
    listed: Callable[[str], dict[str, Any]],
) -> None:
    """Only when it is confirmed; then database and roles are gone, and nothing can be restored."""
    instance, credentials = deleted_with_data(kubernetes, "purged")
    found = listed(instance)
    name, kept = credentials["database"], found["database"]
    assert command("purge", found["id"]).returncode == 1
    assert server.databases(name, kept) == [kept]
    done = command("purge", found["id"], str(uuid4()), "--yes", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (1, {"purged": [found["id"]]})
    assert done.stderr
    assert server.databases(name, kept) == []
    assert server.roles(name, f"{name}_owner") == {}
    refused = kubernetes.provision(new_id(), parameters={"restore_from_instance": instance})
    assert refused.status_code == 400
    assert command("purge", found["id"], "--yes").returncode == 1


def test_an_id_that_is_none_is_refused(command: Callable[..., CompletedProcess[str]]) -> None:
    """A word that is no id of a deletion ends with a usage error."""
    assert command("undelete", "database-1").returncode == 2


def test_a_purge_that_failed_between_two_rotations_of_keys(
    kubernetes: Platform,
    listed: Callable[[str], dict[str, Any]],
    keeping_environment: dict[str, str],
) -> None:
    """What could not be dropped for its new tags is recorded by the next run, and then dropped."""
    instance, _ = deleted_with_data(kubernetes, "rotated")
    deletion = listed(instance)["id"]
    keys = f"{new_key('newer')},{keeping_environment['PGBROKER_ENCRYPTION_KEYS']}"
    both = keeping_environment | {"PGBROKER_ENCRYPTION_KEYS": keys}
    former = keeping_environment["PGBROKER_ENCRYPTION_KEYS"].partition(":")[0]
    assert run_program("keys", "rotate", environ=both).returncode == 0
    with psycopg.connect(keeping_environment["PGBROKER_STATE_DSN"], autocommit=True) as state:
        # As a crash between the server's commit and the state's leaves it.
        state.execute("UPDATE pgbroker.deleted_instances SET tag_key_id = %s", [former])
    purge = ("instances", "purge", deletion, "--yes")
    assert run_program(*purge, environ=both).returncode == 1
    again = run_program("keys", "rotate", environ=both)
    assert again.returncode == 0, again.stdout + again.stderr
    assert run_program(*purge, environ=both).returncode == 0
