"""Custom resources of others that the chart makes: cert-manager's and the Prometheus Operator's.

Each definition has the fields that the chart sets, required and typed as their authors have them,
and no others: what is misspelt or in the wrong place is refused.
"""

from __future__ import annotations

from typing import Any

_STRING = {"type": "string"}


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


def _definition(group: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    singular = kind.lower()
    names = {"kind": kind, "plural": f"{singular}s", "singular": singular}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": _object(("spec",), spec=spec)},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{singular}s.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


CERTIFICATES = _definition(
    "cert-manager.io",
    "Certificate",
    _object(
        ("secretName", "issuerRef"),
        secretName=_STRING,
        dnsNames={"type": "array", "items": _STRING},
        issuerRef=_object(("name",), name=_STRING, kind=_STRING, group=_STRING),
    ),
)

SERVICE_MONITORS = _definition(
    "monitoring.coreos.com",
    "ServiceMonitor",
    _object(
        ("endpoints", "selector"),
        selector=_object(
            matchLabels={"type": "object", "additionalProperties": _STRING},
        ),
        endpoints={
            "type": "array",
            "items": _object(
                port=_STRING,
                path=_STRING,
                interval={
                    "type": "string",
                    "pattern": r"^(\d+y)?(\d+w)?(\d+d)?(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$",
                },
                scheme={"type": "string", "enum": ["http", "https"]},
                tlsConfig=_object(
                    ca=_object(secret=_object(("key",), name=_STRING, key=_STRING)),
                    serverName=_STRING,
                    insecureSkipVerify={"type": "boolean"},
                ),
            ),
        },
    ),
)
