"""The broker and an application in pods: from ``helm install`` to a query."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.walkthrough import MANIFESTS, NEXT_BINDING, apply, bind, delete, provision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.cluster.kubectl import Cluster

APPLICATION = "my-application"


@pytest.fixture
def team(installation: Cluster) -> Iterator[Cluster]:
    """Return a developer's namespace, restricted, with the broker's catalog to choose from."""
    installation.wait("clusterservicebroker/pgbroker", "condition=Ready", seconds=170)
    name = f"team-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": name, "labels": labels}
    installation.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    namespace = installation.within(name)
    yield namespace
    for kind in ("deployments", "servicebindings", "serviceinstances"):
        namespace.kubectl("delete", kind, "--all", "--timeout=60s")
    installation.kubectl("delete", "namespace", name, "--timeout=90s")


def test_the_release_passes_its_test(installation: Cluster) -> None:
    """With no values both replicas become ready, and ``helm test`` finds a working broker."""
    installation.rollout("pgbroker")
    ready = installation.get("deployment", "pgbroker")["status"]["readyReplicas"]
    assert ready == 2
    arguments = ("test", "pgbroker", "--namespace=pgbroker", "--logs", "--timeout=120s")
    assert "Succeeded" in installation.helm(*arguments)


def test_a_rolling_update_fails_no_request(installation: Cluster) -> None:
    """While every replica is replaced, requests over new connections are all answered."""
    installation.rollout("pgbroker")
    former = installation.names("pods", "app.kubernetes.io/component=broker")
    stop = Event()
    with ThreadPoolExecutor(1) as pool:
        answers = pool.submit(ask_until, stop, installation)
        try:
            installation.kubectl("rollout", "restart", "deployment/pgbroker")
            installation.rollout("pgbroker")
            for pod in former:
                installation.wait(f"pod/{pod}", "delete", seconds=90)
        finally:
            stop.set()
        found = answers.result(timeout=30)
    assert set(found) == {200}, found
    assert found[200] >= 10
    now = installation.names("pods", "app.kubernetes.io/component=broker")
    assert not set(now) & set(former)


def ask_until(stop: Event, installation: Cluster) -> Counter[int | str]:
    """Ask for the catalog again and again; return how often there was which answer."""
    address = installation.get("service", "pgbroker")["spec"]["clusterIP"]
    login = installation.secret("pgbroker")
    answers: Counter[int | str] = Counter()
    while not stop.wait(0.05):
        try:
            answer = httpx.get(
                f"https://{address}:8080/v2/catalog",
                auth=(login["username"], login["password"]),
                headers={"X-Broker-API-Version": "2.17"},
                timeout=10,
                verify=False,  # noqa: S501 -- the certificate is for the name
            )
            answers[answer.status_code] += 1
        except httpx.TransportError as error:
            answers[repr(error)] += 1
    return answers


def test_an_application_queries_its_database(team: Cluster) -> None:
    """The walkthrough's Deployment runs, restricted as it is, and has read its own row."""
    provision(team)
    bind(team)
    apply(team, "04-application.yaml")
    team.rollout(APPLICATION)
    assert team.kubectl("logs", f"deployment/{APPLICATION}") == "visits: 1\n"


def test_an_application_moves_to_new_credentials(team: Cluster) -> None:
    """With the second Secret the application sees the same data, after the first is revoked."""
    provision(team)
    bind(team)
    apply(team, "04-application.yaml")
    team.rollout(APPLICATION)
    apply(team, "05-rotation.yaml")
    team.wait(f"servicebinding/{NEXT_BINDING}", "condition=Ready")
    moved = (MANIFESTS / "04-application.yaml").read_text("utf-8")
    moved = moved.replace("postgres-secret", "postgres-secret-2")
    team.kubectl("apply", "--filename=-", stdin=moved)
    team.rollout(APPLICATION)
    delete(team, "03-binding.yaml")
    pods = json.loads(team.kubectl("get", "pods", f"--selector=app={APPLICATION}", "--output=json"))
    newest = max(pods["items"], key=lambda pod: str(pod["metadata"]["creationTimestamp"]))
    assert team.kubectl("logs", newest["metadata"]["name"]) == "visits: 2\n"
