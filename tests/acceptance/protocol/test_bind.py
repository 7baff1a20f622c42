"""``PUT .../service_bindings/:binding_id`` (OSB API 2.17, "Binding", "Binding Rotation")."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.support.catalog import (
    BIG,
    BRIEF,
    EXPIRING,
    FIXED,
    OTHER_SERVICE,
    SERVICE,
    SLOW,
    SMALL,
    UNBOUND,
)
from tests.support.platform import can_connect, new_id, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.application import Footprint
    from tests.support.platform import Platform
    from tests.support.postgres import PostgresServer

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\dZ")
# What a tenant can always say; it must be the privileges that stop it.
WRITING = "-c default_transaction_read_only=off"
FULL: dict[str, Any] = {
    "app_guid": "app",
    "bind_resource": {"app_guid": "app", "app_annotations": {"a": "b"}},
    "context": {"platform": "kubernetes"},
    "parameters": {"role": "read-only"},
}


def test_credentials_and_endpoints(kubernetes: Platform, postgres: PostgresServer) -> None:
    """A binding has credentials that work and says where they lead; no metadata without expiry."""
    instance = kubernetes.provisioned()
    response = kubernetes.bind(instance, new_id())
    assert response.status_code == 201
    body = response.json()
    assert set(body) == {"credentials", "endpoints"}
    assert body["endpoints"] == [
        {"host": postgres.host, "ports": [str(postgres.port)], "protocol": "tcp"}
    ]
    assert rows(body["credentials"], "SELECT session_user, current_database()") == [
        (body["credentials"]["username"], body["credentials"]["database"])
    ]


def test_a_replay_answers_as_before(kubernetes: Platform, kept: Callable[[], Footprint]) -> None:
    """The same bind again is 200 with the same credentials, and changes nothing."""
    instance, binding = kubernetes.provisioned(), new_id()
    first = kubernetes.bind(instance, binding, **FULL)
    before = kept()
    again = kubernetes.bind(instance, binding, **FULL, vendor_extension=[1])
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert kept() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": {}},
        {"parameters": {"role": "read-write"}},
        {"app_guid": "other"},
        {"bind_resource": {"app_guid": "other"}},
        {"bind_resource": {}},
        {"predecessor_binding_id": "other"},
    ],
)
def test_other_attributes_conflict(
    kubernetes: Platform, kept: Callable[[], Footprint], changes: dict[str, Any]
) -> None:
    """The same binding id with anything else that matters is 409."""
    instance, binding = kubernetes.provisioned(), new_id()
    assert kubernetes.bind(instance, binding, **FULL).status_code == 201
    before = kept()
    assert kubernetes.bind(instance, binding, **{**FULL, **changes}).status_code == 409
    assert kept() == before


def test_the_same_binding_id_may_serve_two_instances(kubernetes: Platform) -> None:
    """A binding belongs to its instance: under another one, the id is another binding."""
    one, binding, _ = kubernetes.bound()
    two = kubernetes.provisioned()
    other = kubernetes.credentials(two, binding)
    assert kubernetes.unbind(one, binding).status_code == 200
    assert can_connect(other)


def test_applications_share_what_they_create(kubernetes: Platform) -> None:
    """What one binding creates, another one of the same instance can change and drop."""
    instance, _, first = kubernetes.bound()
    second = kubernetes.credentials(instance, new_id())
    rows(first, "CREATE TABLE t (a int)")
    rows(second, "INSERT INTO t VALUES (1)")
    rows(second, "DROP TABLE t")


def test_a_read_only_binding_reads(kubernetes: Platform) -> None:
    """The role ``read-only`` sees what others write, before and after, and changes nothing."""
    instance, _, writer = kubernetes.bound()
    rows(writer, "CREATE TABLE before AS SELECT 1 AS a")
    reader = kubernetes.credentials(instance, new_id(), parameters={"role": "read-only"})
    rows(writer, "CREATE TABLE after AS SELECT 2 AS a")
    assert rows(reader, "SELECT a FROM before UNION SELECT a FROM after ORDER BY 1") == [(1,), (2,)]
    for statement in ("INSERT INTO before VALUES (3)", "CREATE TABLE mine ()", "DROP TABLE after"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            rows(reader, statement, options=WRITING)


def test_expiring_credentials_say_so(kubernetes: Platform, postgres: PostgresServer) -> None:
    """Both moments are in the specification's format, and PostgreSQL knows the end, too."""
    instance, binding = kubernetes.provisioned(EXPIRING), new_id()
    body = kubernetes.bind(instance, binding, EXPIRING).json()
    moments = body["metadata"]
    assert set(moments) == {"expires_at", "renew_before"}
    assert all(MOMENT.fullmatch(moment) for moment in moments.values())
    expires_at, renew_before = (
        datetime.fromisoformat(moments[name]) for name in ("expires_at", "renew_before")
    )
    assert expires_at - renew_before == timedelta(days=7)
    assert timedelta(0) <= datetime.now(UTC) + timedelta(days=90) - expires_at < timedelta(hours=1)
    with psycopg.connect(postgres.superuser_dsn()) as server:
        (until,) = server.execute(
            "SELECT rolvaliduntil FROM pg_roles WHERE rolname = %s",
            [body["credentials"]["username"]],
        ).fetchone() or (None,)
    assert timedelta(0) <= until - expires_at < timedelta(seconds=0.1)
    fetched = kubernetes.fetch(instance, binding).json()
    assert fetched == {**body, "parameters": {}}


def test_a_rotation_makes_a_successor(kubernetes: Platform) -> None:
    """With nothing but its predecessor's id, a successor has the same rights; both work."""
    instance, first = kubernetes.provisioned(), new_id()
    old = kubernetes.credentials(instance, first, parameters={"role": "read-only"})
    second = new_id()
    rotated = kubernetes.bind(instance, second, None, predecessor_binding_id=first)
    assert rotated.status_code == 201
    new = rotated.json()["credentials"]
    assert new["username"] != old["username"]
    assert new["password"] != old["password"]
    assert new["database"] == old["database"]
    assert can_connect(old)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        rows(new, "CREATE TABLE t ()", options=WRITING)
    assert kubernetes.fetch(instance, second).json()["parameters"] == {"role": "read-only"}
    again = kubernetes.bind(instance, second, None, predecessor_binding_id=first)
    assert (again.status_code, again.json()) == (200, rotated.json())
    assert kubernetes.unbind(instance, first).status_code == 200
    assert (can_connect(old), can_connect(new)) == (False, True)


def test_a_rotation_may_say_more(kubernetes: Platform) -> None:
    """Service, plan and the predecessor's own parameters may be repeated."""
    instance, first, _ = kubernetes.bound()
    rotated = kubernetes.bind(instance, new_id(), predecessor_binding_id=first, parameters={})
    assert rotated.status_code == 201


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "fields",
    [
        {"predecessor_binding_id": "no-such-binding"},
        {"predecessor_binding_id": ""},
        {"predecessor_binding_id": 7},
        {"parameters": {"role": "read-only"}},
        {"plan_id": BIG},
    ],
)
def test_bad_rotations_are_refused(
    kubernetes: Platform, existing: tuple[str, str], fields: dict[str, Any]
) -> None:
    """A successor needs an existing predecessor, its parameters, and its plan."""
    instance, predecessor = existing
    body = {"predecessor_binding_id": predecessor, **fields}
    refused = kubernetes.bind(instance, new_id(), None, **body)
    assert refused.status_code == 400
    assert refused.json()["description"]


def test_a_predecessor_must_be_of_the_same_instance(
    kubernetes: Platform, existing: tuple[str, str], kept: Callable[[], Footprint]
) -> None:
    """A binding of another instance, or the new binding itself, is no predecessor."""
    instance, own = kubernetes.provisioned(), new_id()
    before = kept()
    for predecessor in (existing[1], own):
        refused = kubernetes.bind(instance, own, None, predecessor_binding_id=predecessor)
        assert refused.status_code == 400
    assert kept() == before


def test_a_plan_may_forbid_rotation(kubernetes: Platform) -> None:
    """Where the catalog says that bindings cannot be rotated, they are not."""
    instance, first, _ = kubernetes.bound(FIXED)
    refused = kubernetes.bind(instance, new_id(), None, predecessor_binding_id=first)
    assert refused.status_code == 400
    assert "cannot be rotated" in refused.json()["description"]


async def test_an_expired_binding_has_no_successor(kubernetes: Platform) -> None:
    """Once PostgreSQL lets nobody in any more, a new binding is needed."""
    instance, binding, credentials = kubernetes.bound(BRIEF)
    while can_connect(credentials):
        pass
    refused = kubernetes.bind(instance, new_id(), None, predecessor_binding_id=binding)
    assert refused.status_code == 400
    assert "expired" in refused.json()["description"]
    assert kubernetes.unbind(instance, binding, BRIEF).status_code == 200


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "fields",
    [
        {"service_id": SERVICE},
        {"plan_id": SMALL},
        {"service_id": SERVICE, "plan_id": BIG},
        {"service_id": OTHER_SERVICE, "plan_id": SMALL},
        {"service_id": SERVICE, "plan_id": "no-such-plan"},
        {"service_id": SERVICE, "plan_id": SMALL, "parameters": {"role": "owner"}},
        {"service_id": SERVICE, "plan_id": SMALL, "parameters": {"unknown": 1}},
    ],
)
def test_bad_binds_are_refused(
    kubernetes: Platform, existing: tuple[str, str], fields: dict[str, Any]
) -> None:
    """Ids that are missing or wrong, and roles that are not offered, are bad requests."""
    refused = kubernetes.bind(existing[0], new_id(), None, **fields)
    assert refused.status_code == 400
    assert refused.json()["description"]


@pytest.mark.usefixtures("unchanged")
def test_an_unknown_instance_cannot_be_bound(kubernetes: Platform) -> None:
    """A bind of nothing is 404."""
    assert kubernetes.bind(new_id(), new_id()).status_code == 404


def test_a_plan_may_forbid_binding(kubernetes: Platform) -> None:
    """Where the catalog says that instances cannot be bound, they are not."""
    instance = kubernetes.provisioned(UNBOUND)
    refused = kubernetes.bind(instance, new_id(), UNBOUND)
    assert refused.status_code == 400
    assert "cannot be bound" in refused.json()["description"]


async def test_a_slow_plan_is_bound_with_patience(kubernetes: Platform) -> None:
    """``AsyncRequired`` without patience; with it, 202 without credentials, then a fetch."""
    instance, binding = new_id(), new_id()
    patient = "?accepts_incomplete=true"
    assert kubernetes.provision(instance, SLOW, query=patient).status_code == 202
    assert (await kubernetes.polled(instance)).json()["state"] == "succeeded"
    refused = kubernetes.bind(instance, binding, SLOW)
    assert (refused.status_code, refused.json()["error"]) == (422, "AsyncRequired")
    accepted = kubernetes.bind(instance, binding, SLOW, query=patient)
    assert accepted.status_code == 202
    assert set(accepted.json()) == {"operation"}
    polled = await kubernetes.polled(instance, binding, operation=accepted.json()["operation"])
    assert polled.json() == {"state": "succeeded"}
    assert can_connect(kubernetes.fetch(instance, binding).json()["credentials"])
    replay = kubernetes.bind(instance, binding, SLOW, query=patient)
    assert replay.status_code == 200
