"""The walkthrough of ``examples/walkthrough``, on a real API server with the real controller."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.e2e.tenants import ask, databases, is_refused, log_in, roles
from tests.e2e.walkthrough import (
    BINDING,
    INSTANCE,
    NEXT_BINDING,
    NEXT_SECRET,
    SECRET,
    apply,
    bind,
    delete,
    documents,
    provision,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.e2e.broker import Broker
    from tests.e2e.cluster.kubectl import Cluster

KEYS = {
    "type",
    "provider",
    "host",
    "port",
    "database",
    "username",
    "password",
    "sslmode",
    "uri",
    "jdbc_url",
}


def test_the_catalog_is_listed(registration: Cluster) -> None:
    """Once the broker is registered, its offering is a class and its plans are plans."""
    names = "--output=jsonpath={.items[*].spec.externalName}"
    assert registration.kubectl("get", "clusterserviceclasses", names) == "postgres-database"
    plans = registration.kubectl("get", "clusterserviceplans", names)
    assert set(plans.split()) == {"free", "standard", "large"}


def test_an_instance_becomes_ready(namespace: Cluster, broker: Broker) -> None:
    """The developer's instance is Ready, and on the server there is one database more."""
    before = databases(broker.postgres)
    provision(namespace)
    ready = namespace.condition("serviceinstance", INSTANCE)
    assert ready["status"] == "True"
    assert ready["reason"] == "ProvisionedSuccessfully"
    assert len(databases(broker.postgres) - before) == 1
    assert ask(broker.postgres, "SHOW data_checksums") == ["on"]


def test_the_secret_holds_the_credentials(namespace: Cluster, broker: Broker) -> None:
    """Every key of the credentials is in the Secret, byte for byte as the broker has it."""
    provision(namespace)
    secret = bind(namespace)
    assert namespace.condition("servicebinding", BINDING)["reason"] == "InjectedBindResult"
    assert broker.process is not None
    instance_id = namespace.get("serviceinstance", INSTANCE)["spec"]["externalID"]
    binding_id = namespace.get("servicebinding", BINDING)["spec"]["externalID"]
    url = f"/v2/service_instances/{instance_id}/service_bindings/{binding_id}"
    assert secret == broker.process.client.get(url).json()["credentials"]
    with_authority = KEYS | {"ca_certificate"}
    assert set(secret) == (with_authority if broker.postgres.ca_certificate else KEYS)


def test_the_credentials_work(namespace: Cluster, tmp_path: Path) -> None:
    """What is in the Secret logs in to a database of its own, and creates and reads a table."""
    provision(namespace)
    secret = bind(namespace)
    with log_in(secret, tmp_path) as connection:
        connection.execute("CREATE TABLE visit (at timestamptz DEFAULT now())")
        connection.execute("INSERT INTO visit DEFAULT VALUES")
        found = connection.execute("SELECT current_database(), count(*) FROM visit").fetchone()
    assert found == (secret["database"], 1)


def test_the_application_runs(namespace: Cluster, tmp_path: Path) -> None:
    """The application's program, with its environment and its files out of the Secret, queries."""
    provision(namespace)
    secret = bind(namespace)
    program = documents("04-application.yaml")[0]["data"]["application.py"]
    assert "/etc/postgres" in program
    assert "/tmp/ready" in program  # noqa: S108 -- the name in the pod
    for key, value in secret.items():
        (tmp_path / key).write_text(value, "utf-8")
    program = program.replace("/etc/postgres", str(tmp_path))
    program = program.replace("/tmp/ready", str(tmp_path / "ready"))  # noqa: S108
    program = program.replace("signal.sigwait({signal.SIGTERM})", "")
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "POSTGRES_URI": secret["uri"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stdout == "visits: 1\n", result.stderr
    assert (tmp_path / "ready").exists()


def test_credentials_are_rotated(namespace: Cluster, tmp_path: Path) -> None:
    """A second binding has other credentials for the same data; the first ones can go away."""
    provision(namespace)
    first = bind(namespace)
    apply(namespace, "05-rotation.yaml")
    namespace.wait(f"servicebinding/{NEXT_BINDING}", "condition=Ready")
    second = namespace.secret(NEXT_SECRET)
    assert second["username"] != first["username"]
    with log_in(first, tmp_path) as connection:
        connection.execute("CREATE TABLE visit (at timestamptz DEFAULT now())")
    delete(namespace, "03-binding.yaml")
    assert is_refused(first, tmp_path)
    with log_in(second, tmp_path) as connection:
        connection.execute("INSERT INTO visit DEFAULT VALUES")


def test_unbind_revokes_the_credentials(namespace: Cluster, tmp_path: Path) -> None:
    """With the binding go the Secret, the login and the sessions that use it."""
    provision(namespace)
    secret = bind(namespace)
    with log_in(secret, tmp_path) as session:
        delete(namespace, "03-binding.yaml")
        assert SECRET not in namespace.names("secrets")
        assert is_refused(secret, tmp_path)
        with pytest.raises(psycopg.OperationalError):
            session.execute("SELECT 1")


def test_deprovision_removes_everything(namespace: Cluster, broker: Broker) -> None:
    """After the instance is deleted, no database and no role of it is on the server."""
    before = databases(broker.postgres), roles(broker.postgres)
    provision(namespace)
    bind(namespace)
    assert (databases(broker.postgres), roles(broker.postgres)) != before
    delete(namespace, "03-binding.yaml")
    delete(namespace, "02-instance.yaml")
    assert (databases(broker.postgres), roles(broker.postgres)) == before
