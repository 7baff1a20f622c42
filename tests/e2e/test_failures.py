"""What a user of Kubernetes sees when something is wrong, and that it comes right again."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql

from tests.e2e.tenants import ask, databases, log_in, roles
from tests.e2e.walkthrough import binding, instance, provision

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.broker import Broker
    from tests.e2e.cluster.kubectl import Cluster
    from tests.support.postgres import PostgresServer

FAILED = "jsonpath={.status.conditions[?(@.type=='Failed')].status}=True"


def test_wrong_parameters_are_explained(namespace: Cluster, broker: Broker) -> None:
    """The condition says in words which parameter is wrong; the failed instance can be deleted."""
    before = databases(broker.postgres), roles(broker.postgres)
    namespace.apply(instance("wrong", parameters={"init-db-args": "--wal-segsize=64"}))
    namespace.wait("serviceinstance/wrong", FAILED)
    ready = namespace.condition("serviceinstance", "wrong")
    assert ready["status"] == "False"
    assert "--wal-segsize" in ready["message"]
    assert "init-db-args" in ready["message"]
    namespace.kubectl("delete", "serviceinstance", "wrong", "--timeout=60s")
    assert (databases(broker.postgres), roles(broker.postgres)) == before


def test_a_broker_that_is_down_is_waited_for(namespace: Cluster, broker: Broker) -> None:
    """An instance that is asked for while no broker runs is Ready when one runs again."""
    broker.stop()
    namespace.apply(instance("patient"))
    wait_for_reason(namespace, "serviceinstance/patient", "ErrorCallingProvision")
    assert "connection refused" in namespace.condition("serviceinstance", "patient")["message"]
    broker.start()
    namespace.wait("serviceinstance/patient", "condition=Ready", seconds=120)


def test_a_broker_killed_in_the_middle_leaves_one_database(
    namespace: Cluster, broker: Broker
) -> None:
    """A provision that its broker's death has cut short ends with one database and its roles."""
    before = databases(broker.postgres), roles(broker.postgres)
    with no_new_roles(broker.postgres):
        namespace.apply(instance("killed"))
        wait_for_a_waiting_provision(broker.postgres)
        broker.kill()
    broker.start()
    namespace.wait("serviceinstance/killed", "condition=Ready", seconds=150)
    assert len(databases(broker.postgres) - before[0]) == 1
    namespace.kubectl("delete", "serviceinstance", "killed", "--timeout=60s")
    assert (databases(broker.postgres), roles(broker.postgres)) == before


def test_an_orphan_is_taken_away(namespace: Cluster, broker: Broker) -> None:
    """A database whose provision failed when it had been made is dropped before the next try."""
    before = databases(broker.postgres), roles(broker.postgres)
    since = len(broker.log_lines())
    with unusable_template(broker.postgres):
        namespace.apply(instance("orphan"))
        broker.wait_for_log(since, event="server refused", doing="prepare a new database")
        broker.wait_for_log(since, method="PUT", status=500)
        broker.wait_for_log(since, method="DELETE", status=200)
    namespace.wait("serviceinstance/orphan", "condition=Ready", seconds=240)
    assert len(databases(broker.postgres) - before[0]) == 1
    namespace.kubectl("delete", "serviceinstance", "orphan", "--timeout=60s")
    assert (databases(broker.postgres), roles(broker.postgres)) == before


def test_a_state_that_is_away_is_waited_for(namespace: Cluster, broker: Broker) -> None:
    """After errors of the broker, Service Catalog deletes what may be there, and tries again."""
    with state_out_of_reach(broker):
        namespace.apply(instance("orphan"))
        namespace.wait("serviceinstance/orphan", "condition=OrphanMitigation")
    namespace.wait("serviceinstance/orphan", "condition=Ready", seconds=150)


def test_what_failed_is_deleted_when_that_is_possible(namespace: Cluster, broker: Broker) -> None:
    """An instance deleted while the broker can do nothing goes once it can, and leaves nothing."""
    before = databases(broker.postgres), roles(broker.postgres)
    with state_out_of_reach(broker):
        namespace.apply(instance("doomed"))
        namespace.wait("serviceinstance/doomed", "condition=OrphanMitigation")
        namespace.kubectl("delete", "serviceinstance", "doomed", "--wait=false")
    namespace.wait("serviceinstance/doomed", "delete", seconds=240)
    assert (databases(broker.postgres), roles(broker.postgres)) == before


def test_a_failed_binding_leaves_no_login(namespace: Cluster, broker: Broker) -> None:
    """A bind that ends in an error is cleaned up after, and can be deleted."""
    provision(namespace)
    before = roles(broker.postgres)
    with state_out_of_reach(broker):
        namespace.apply(binding("late", "my-postgres-db"))
        namespace.wait("servicebinding/late", FAILED)
    namespace.kubectl("delete", "servicebinding", "late", "--timeout=150s")
    assert roles(broker.postgres) == before


def test_a_plan_change_takes_effect(namespace: Cluster, broker: Broker, tmp_path: Path) -> None:
    """An update to a larger plan keeps the data and the credentials, and lifts the limit."""
    provision(namespace)
    namespace.apply(binding("login", "my-postgres-db"))
    namespace.wait("servicebinding/login", "condition=Ready")
    secret = namespace.secret("login")
    limit = "SELECT rolconnlimit FROM pg_roles WHERE rolname = %s"
    (free,) = ask(broker.postgres, limit, secret["username"])
    namespace.kubectl(*change_plan("my-postgres-db", "standard"))
    wait_for_reason(namespace, "serviceinstance/my-postgres-db", "InstanceUpdatedSuccessfully")
    (standard,) = ask(broker.postgres, limit, secret["username"])
    assert (free, standard) == (3, 10)
    log_in(secret, tmp_path).close()


def test_a_forbidden_plan_change_is_explained(namespace: Cluster) -> None:
    """A change that the catalog does not allow says so, and everything can still be deleted."""
    namespace.apply(instance("small", clusterServicePlanExternalName="standard"))
    namespace.wait("serviceinstance/small", "condition=Ready")
    namespace.apply(binding("small", "small"))
    namespace.wait("servicebinding/small", "condition=Ready")
    namespace.kubectl(*change_plan("small", "free"))
    wait_for_reason(namespace, "serviceinstance/small", "UpdateInstanceCallFailed")
    message = namespace.condition("serviceinstance", "small")["message"]
    assert "cannot move to the plan 'free'" in message
    namespace.kubectl("delete", "servicebinding", "small", "--timeout=60s")
    namespace.kubectl("delete", "serviceinstance", "small", "--timeout=60s")


def change_plan(name: str, plan: str) -> tuple[str, ...]:
    """Compose the arguments of kubectl that change the plan of an instance."""
    patch = f'{{"spec": {{"clusterServicePlanExternalName": "{plan}"}}}}'
    return ("patch", "serviceinstance", name, "--type=merge", f"--patch={patch}")


def wait_for_reason(namespace: Cluster, subject: str, reason: str) -> None:
    """Wait until the Ready condition has this reason, be it true or false.

    False alone says little: it is that, too, while a request is on its way.
    """
    path = "{.status.conditions[?(@.type=='Ready')].reason}"
    namespace.wait(subject, f"jsonpath={path}={reason}")


@contextmanager
def no_new_roles(postgres: PostgresServer) -> Iterator[None]:
    """Let everybody who creates a role on the server wait."""
    with psycopg.connect(postgres.superuser_dsn()) as connection:
        connection.execute("LOCK TABLE pg_catalog.pg_authid IN SHARE ROW EXCLUSIVE MODE")
        yield


def wait_for_a_waiting_provision(postgres: PostgresServer) -> None:
    """Return when a broker waits for a lock on the server's roles."""
    with psycopg.connect(postgres.superuser_dsn(), autocommit=True) as connection:
        connection.execute(
            """
            DO $$ BEGIN
                FOR attempt IN 1..600 LOOP
                    IF EXISTS (SELECT FROM pg_locks WHERE NOT granted
                               AND relation = 'pg_catalog.pg_authid'::regclass) THEN
                        RETURN;
                    END IF;
                    PERFORM pg_sleep(0.05);
                END LOOP;
                RAISE 'nobody waits for the lock';
            END $$
            """
        )


@contextmanager
def unusable_template(postgres: PostgresServer) -> Iterator[None]:
    """Let new databases be made that their broker cannot prepare: their ``public`` is not its."""
    give_public_to(postgres, "postgres")
    try:
        yield
    finally:
        give_public_to(postgres, "pg_database_owner")


def give_public_to(postgres: PostgresServer, owner: str) -> None:
    """Change who owns the schema ``public`` of databases to come."""
    allow = sql.SQL("ALTER DATABASE template0 ALLOW_CONNECTIONS {}")
    with psycopg.connect(postgres.superuser_dsn(), autocommit=True) as connection:
        connection.execute(allow.format(sql.SQL("true")))
        try:
            with psycopg.connect(postgres.superuser_dsn("template0")) as template:
                template.execute(
                    sql.SQL("ALTER SCHEMA public OWNER TO {}").format(sql.Identifier(owner))
                )
        finally:
            connection.execute(allow.format(sql.SQL("false")))


@contextmanager
def state_out_of_reach(broker: Broker) -> Iterator[None]:
    """Let nobody connect to the broker's state database, and end the connections there are."""
    name = psycopg.conninfo.conninfo_to_dict(broker.state_dsn)["dbname"]
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    database = sql.Identifier(str(name))
    with psycopg.connect(broker.postgres.superuser_dsn(), autocommit=True) as connection:
        connection.execute(allow.format(database, sql.SQL("false")))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        try:
            yield
        finally:
            connection.execute(allow.format(database, sql.SQL("true")))
