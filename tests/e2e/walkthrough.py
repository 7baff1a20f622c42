"""The manifests of ``examples/walkthrough``, applied as its README says."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

if TYPE_CHECKING:
    from tests.e2e.broker import Broker
    from tests.e2e.cluster.kubectl import Cluster

MANIFESTS = Path(__file__).parents[2] / "examples" / "walkthrough"

BROKER, INSTANCE, BINDING = "pgbroker", "my-postgres-db", "my-postgres-db-binding"
SECRET = "postgres-secret"
NEXT_BINDING, NEXT_SECRET = "my-postgres-db-binding-2", "postgres-secret-2"


def register(cluster: Cluster, broker: Broker) -> None:
    """Apply ``01-broker.yaml`` with what its comment asks to fill in, and wait for the catalog."""
    text = (MANIFESTS / "01-broker.yaml").read_text("utf-8")
    for blank, filled in {
        "https://pgbroker.pgbroker.svc:8080": broker.url,
        "REPLACE-WITH-THE-CA-BUNDLE": b64encode(broker.ca_bundle).decode(),
        "REPLACE-WITH-THE-PASSWORD": broker.password,
    }.items():
        assert blank in text
        text = text.replace(blank, filled)
    cluster.kubectl("apply", "--filename=-", stdin=text)
    cluster.wait(f"clusterservicebroker/{BROKER}", "condition=Ready")


def provision(namespace: Cluster) -> None:
    """Apply ``02-instance.yaml`` and wait for the database."""
    apply(namespace, "02-instance.yaml")
    namespace.wait(f"serviceinstance/{INSTANCE}", "condition=Ready")


def bind(namespace: Cluster) -> dict[str, str]:
    """Apply ``03-binding.yaml``, wait for the credentials and return the Secret."""
    apply(namespace, "03-binding.yaml")
    namespace.wait(f"servicebinding/{BINDING}", "condition=Ready")
    return namespace.secret(SECRET)


def apply(namespace: Cluster, manifest: str) -> None:
    """Apply one of the manifests as it is."""
    namespace.kubectl("apply", f"--filename={MANIFESTS / manifest}")


def delete(namespace: Cluster, manifest: str) -> None:
    """Delete what a manifest has made, and wait until it is gone."""
    namespace.kubectl("delete", f"--filename={MANIFESTS / manifest}", "--timeout=60s")


def documents(manifest: str) -> list[dict[str, Any]]:
    """Return the objects of a manifest."""
    return list(YAML(typ="safe").load_all((MANIFESTS / manifest).read_text("utf-8")))


def instance(name: str, **spec: Any) -> dict[str, Any]:
    """Return the walkthrough's instance under another name.

    Args:
        name: Of the new instance.
        spec: What is different in its specification.
    """
    (original,) = documents("02-instance.yaml")
    return original | {"metadata": {"name": name}, "spec": original["spec"] | spec}


def binding(name: str, instance_name: str) -> dict[str, Any]:
    """Return the walkthrough's binding under another name, which its Secret has, too."""
    (original,) = documents("03-binding.yaml")
    spec = {"instanceRef": {"name": instance_name}, "secretName": name}
    return original | {"metadata": {"name": name}, "spec": spec}
