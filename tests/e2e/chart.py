"""The Helm chart: where it is, sets of values to render it with, and what comes out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.e2e.cluster.kubectl import Cluster

CHART = Path(__file__).parents[2] / "charts" / "pgbroker"

DATABASES: dict[str, Any] = {
    "stateDsn": "postgresql://pgbroker:secret@db.example.com/state?sslmode=require",
    "servers": [
        {
            "name": "main",
            "admin_dsn": "postgresql://pgbroker:secret@db.example.com/pgbroker?sslmode=require",
            "host": "db.example.com",
        }
    ],
}

VALUES: Mapping[str, Mapping[str, Any]] = {
    "no values": {},
    "databases": DATABASES,
    "existing secret": {"existingSecret": "mine", "tls": {"source": "none"}},
    "certificate of its own": DATABASES | {"tls": {"source": "secret", "secretName": "mine"}},
    "cert-manager": DATABASES
    | {"tls": {"source": "certManager", "issuerRef": {"name": "internal"}}},
    "registered": {"serviceCatalog": {"register": True}},
    "registered in its namespace": {"serviceCatalog": {"register": True, "scope": "Namespace"}},
    "one replica": {"replicas": 1, "networkPolicy": {"enabled": False}},
    "everything": DATABASES
    | {
        "imagePullSecrets": [{"name": "registry"}],
        "files": {"ca.crt": "-----BEGIN CERTIFICATE-----"},
        "password": "a-password-of-mine",
        "catalog": (Path(__file__).parents[2] / "catalog.yaml").read_text("utf-8"),
        "env": [{"name": "PGBROKER_LOG_LEVEL", "value": "debug"}],
        "service": {"type": "NodePort", "port": 443, "annotations": {"example.com/a": "b"}},
        "serviceAccount": {"create": True, "name": "mine", "annotations": {"example.com/a": "b"}},
        "networkPolicy": {
            "from": [{"podSelector": {}}],
            "to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
            "databasePorts": [5432, 6432],
        },
        "podAnnotations": {"example.com/a": "b"},
        "podLabels": {"example.com/a": "b"},
        "nodeSelector": {"example.com/a": "b"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
    },
}
"""Everything that a value decides, by a name for it."""


def values_file(values: Mapping[str, Any], directory: Path) -> Path:
    """Write values where helm can read them; JSON is YAML."""
    file = directory / "values.yaml"
    file.write_text(json.dumps(values), "utf-8")
    return file


def parse(rendered: str) -> list[dict[str, Any]]:
    """Return the objects of a rendered chart."""
    return [entry for entry in YAML(typ="safe").load_all(rendered) if entry]


def pods_of(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield every Pod that the objects are or would make."""
    for entry in objects:
        if entry["kind"] == "Pod":
            yield entry
        elif "template" in entry.get("spec", {}):
            template = entry["spec"]["template"]
            name, labels = entry["metadata"]["name"], template["metadata"]["labels"]
            spec = {"restartPolicy": "Never"} | template["spec"]
            # What a StatefulSet adds for each of its claims.
            spec["volumes"] = spec["volumes"] + [
                {"name": claim["metadata"]["name"], "emptyDir": {}}
                for claim in entry["spec"].get("volumeClaimTemplates", ())
            ]
            metadata = {"name": name, "labels": labels}
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def dry_run(namespace: Cluster, entry: Mapping[str, Any]) -> None:
    """Let the API server check an object as it would at its creation, and keep nothing.

    Raises:
        CommandError: It refuses the object.
    """
    own = {**entry, "metadata": {**entry["metadata"], "namespace": namespace.namespace}}
    arguments = ("create", "--dry-run=server", "--validate=strict", "--filename=-")
    namespace.kubectl(*arguments, stdin=json.dumps(own))
