"""Platforms: who is who, who sees what, and who asked (OSB API 2.17, "Headers")."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from broker.domain.instance import InstanceKey
from broker.domain.operation import OriginatingIdentity
from broker.store import PostgresStore
from tests.support.application import KUBERNETES_NEXT
from tests.support.catalog import BIG, SERVICE, SLOW
from tests.support.platform import Platform, can_connect, new_id, path

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.application import Application, Footprint

IDENTITY = {"username": "jané", "uid": "7", "groups": ["system:authenticated"]}
ENCODED = base64.b64encode(json.dumps(IDENTITY).encode()).decode()


def test_the_same_ids_on_two_platforms_are_two_things(
    kubernetes: Platform, cloudfoundry: Platform
) -> None:
    """Each platform has an instance and a binding of its own under the same ids."""
    instance, binding, first = kubernetes.bound()
    assert cloudfoundry.provision(instance, BIG).status_code == 201
    second = cloudfoundry.credentials(instance, binding, BIG)
    assert first["database"] != second["database"]
    assert first["username"] != second["username"]
    assert cloudfoundry.unbind(instance, binding, BIG).status_code == 200
    assert cloudfoundry.deprovision(instance, BIG).status_code == 200
    assert can_connect(first)
    assert kubernetes.fetch(instance, binding).status_code == 200


@pytest.mark.usefixtures("unchanged")
def test_another_platforms_things_do_not_exist(
    cloudfoundry: Platform, existing: tuple[str, str]
) -> None:
    """Whatever a platform does to ids of another one, the answer is that there is nothing."""
    instance, binding = existing
    for expected, answer, control in (
        (404, cloudfoundry.fetch(instance), cloudfoundry.fetch(new_id())),
        (404, cloudfoundry.fetch(instance, binding), cloudfoundry.fetch(new_id(), new_id())),
        (404, cloudfoundry.poll(instance), cloudfoundry.poll(new_id())),
        (404, cloudfoundry.poll(instance, binding), cloudfoundry.poll(new_id(), new_id())),
        (404, cloudfoundry.update(instance), cloudfoundry.update(new_id())),
        (404, cloudfoundry.bind(instance, binding), cloudfoundry.bind(new_id(), new_id())),
        (410, cloudfoundry.unbind(instance, binding), cloudfoundry.unbind(new_id(), new_id())),
        (410, cloudfoundry.deprovision(instance), cloudfoundry.deprovision(new_id())),
    ):
        assert answer.status_code == expected
        # Not a word differs from the answer about what never existed.
        assert answer.json() == control.json()


async def test_another_platforms_operation_is_unknown(
    kubernetes: Platform, cloudfoundry: Platform
) -> None:
    """An operation's id is of no use to a platform that did not start it."""
    instance = new_id()
    operation = kubernetes.provision(instance, SLOW, query="?accepts_incomplete=true").json()
    assert cloudfoundry.poll(instance, **operation).status_code == 404
    assert cloudfoundry.provision(instance).status_code == 201
    assert cloudfoundry.poll(instance, **operation).status_code == 400
    assert (await kubernetes.polled(instance, **operation)).status_code == 200


def test_two_passwords_are_valid_at_once(
    application: Application, kubernetes: Platform, existing: tuple[str, str]
) -> None:
    """While a password is being changed, the old and the new one lead to the same platform."""
    with Platform(application.url, KUBERNETES_NEXT) as other:
        assert other.fetch(*existing).json() == kubernetes.fetch(*existing).json()


async def test_who_asked_is_recorded(application: Application, kubernetes: Platform) -> None:
    """The originating identity, decoded, and the request identity are kept with the operation."""
    instance = new_id()
    made = kubernetes.http.put(
        path(instance),
        json={"service_id": SERVICE, "plan_id": BIG},
        headers={
            "X-Broker-API-Originating-Identity": f"kubernetes {ENCODED}",
            "X-Broker-API-Request-Identity": "request-42",
        },
    )
    assert made.status_code == 201
    assert made.headers["X-Broker-API-Request-Identity"] == "request-42"
    assert kubernetes.poll(instance).headers["X-Broker-API-Request-Identity"] != "request-42"
    store = PostgresStore(application.settings.state_dsn.reveal(), application.keys)
    recorded = await store.last_operation(InstanceKey("kubernetes", instance))
    await store.close()
    assert recorded is not None
    assert recorded.caller.request_id == "request-42"
    assert recorded.caller.identity == OriginatingIdentity("kubernetes", IDENTITY)


@pytest.mark.parametrize("version", ["2.0", "2.11", "2.17", "2.18"])
def test_every_version_two_is_served(kubernetes: Platform, version: str) -> None:
    """Minor versions only add, so an older or newer platform is served."""
    served = kubernetes.http.get("/v2/catalog", headers={"X-Broker-API-Version": version})
    assert served.status_code == 200


@pytest.mark.parametrize(
    ("version", "status"),
    [("1.17", 412), ("3.0", 412), ("", 400), ("2", 400), ("latest", 400), ("2.17.1", 400)],
)
def test_other_versions_are_refused_and_nothing_happens(
    kubernetes: Platform, kept: Callable[[], Footprint], version: str, status: int
) -> None:
    """Another major version is 412, what is no version 400, and both name the header or 2.17."""
    before = kept()
    refused = kubernetes.http.put(
        path(new_id()),
        json={"service_id": SERVICE, "plan_id": BIG},
        headers={"X-Broker-API-Version": version},
    )
    assert refused.status_code == status
    assert "2.17" in refused.json()["description"]
    assert kept() == before


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "identity", ["", "kubernetes", "kubernetes e30 e30", "kubernetes ####", "kubernetes W10="]
)
def test_a_malformed_identity_is_refused(kubernetes: Platform, identity: str) -> None:
    """A header that is not as the specification has it is a bad request."""
    refused = kubernetes.http.put(
        path(new_id()),
        json={"service_id": SERVICE, "plan_id": BIG},
        headers={"X-Broker-API-Originating-Identity": identity},
    )
    assert refused.status_code == 400
    assert "Originating-Identity" in refused.json()["description"]
