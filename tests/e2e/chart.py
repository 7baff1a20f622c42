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

CATALOG = (CHART.parents[1] / "catalog.yaml").read_text("utf-8")

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

_AUTHORITY = "LS0tLS1CRUdJTi0tLS0tCg=="
_CERT_MANAGER = {"source": "certManager", "issuerRef": {"name": "internal"}}
_OWN_CERTIFICATE = {"source": "secret", "secretName": "mine"}
_REGISTER = {"register": True}

VALUES: Mapping[str, Mapping[str, Any]] = {
    "no values": {},
    "databases": DATABASES,
    "existing secret": {"existingSecret": "mine", "tls": {"source": "none"}},
    "certificate of its own": DATABASES | {"tls": _OWN_CERTIFICATE},
    "cert-manager": DATABASES | {"tls": _CERT_MANAGER},
    "cert-manager's issuer of all namespaces": DATABASES
    | {
        "tls": {
            "source": "certManager",
            "issuerRef": {"name": "all", "kind": "ClusterIssuer", "group": "cert-manager.io"},
        }
    },
    "cert-manager's issuer of the namespace": DATABASES
    | {"tls": {"source": "certManager", "issuerRef": {"name": "one", "kind": "Issuer"}}},
    "registered": {"serviceCatalog": _REGISTER},
    "registered in its namespace": {"serviceCatalog": _REGISTER | {"scope": "Namespace"}},
    "registered by a name": {
        "serviceCatalog": _REGISTER | {"name": "mine", "caBundle": _AUTHORITY}
    },
    "registered, certificate of its own": {"serviceCatalog": _REGISTER, "tls": _OWN_CERTIFICATE},
    "registered, cert-manager": {"serviceCatalog": _REGISTER, "tls": _CERT_MANAGER},
    "registered without TLS": {"serviceCatalog": _REGISTER, "tls": {"source": "none"}},
    "monitored": {"serviceMonitor": {"enabled": True}},
    "monitored, certificate of its own": {
        "serviceMonitor": {"enabled": True},
        "tls": _OWN_CERTIFICATE,
    },
    "monitored, cert-manager": {"serviceMonitor": {"enabled": True}, "tls": _CERT_MANAGER},
    "monitored without TLS": {"serviceMonitor": {"enabled": True}, "tls": {"source": "none"}},
    "one replica": {"replicas": 1, "networkPolicy": {"enabled": False}},
    "no disruption budget": {"podDisruptionBudget": {"enabled": False}},
    "somebody else's account": {"serviceAccount": {"create": False}},
    "load balancer": {"service": {"type": "LoadBalancer"}},
    "never pulled": {"image": {"tag": "local", "pullPolicy": "Never"}},
    "quick start": {
        "quickStart": {
            "image": {"repository": "registry.example.com/postgres", "tag": "17"},
            "storage": "20Gi",
            "storageClass": "fast",
            "resources": {
                "requests": {"cpu": "1", "memory": "1Gi"},
                "limits": {"memory": "2Gi"},
            },
        },
    },
    "everything": DATABASES
    | {
        "image": {
            "repository": "registry.example.com/pgbroker",
            "tag": "1.2.3",
            "pullPolicy": "Always",
        },
        "imagePullSecrets": [{"name": "registry"}],
        "files": {"ca.crt": "-----BEGIN CERTIFICATE-----"},
        "username": "platform",
        "password": "a-password-of-mine",
        "encryptionKeys": "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "catalog": CATALOG,
        "env": [{"name": "PGBROKER_LOG_LEVEL", "value": "debug"}],
        "service": {"type": "NodePort", "port": 443, "annotations": {"example.com/a": "b"}},
        "serviceAccount": {"create": True, "name": "mine", "annotations": {"example.com/a": "b"}},
        "serviceMonitor": {
            "enabled": True,
            "labels": {"release": "prometheus"},
            "interval": "1m30s",
        },
        "networkPolicy": {
            "from": [{"podSelector": {}}],
            "to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
            "databasePorts": [5432, 6432],
            "dnsPorts": [53],
        },
        "resources": {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"cpu": "2", "memory": "1Gi"},
        },
        "podAnnotations": {"example.com/a": "b"},
        "podLabels": {"example.com/a": "b"},
        "nodeSelector": {"example.com/a": "b"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "example.com/a", "operator": "Exists"}]}
                    ]
                }
            }
        },
    },
}
"""Everything that a value decides, by a name for it."""


def settings(values: Mapping[str, Any], *path: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and the value of each leaf: what is no mapping, or an empty one."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from settings(value, *path, key)
        else:
            yield (*path, key), value


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
