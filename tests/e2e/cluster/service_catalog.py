"""Service Catalog on a control plane: its custom resources, its webhooks, its controller.

The released chart cannot be applied (its objects are of API versions that Kubernetes 1.22 removed),
so what it would install is made here, in the versions of today.
"""

from __future__ import annotations

from base64 import b64encode
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import trustme

from tests.e2e.cluster.daemon import answers, running
from tests.support.process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.cluster.kubectl import Cluster

GROUP, VERSION = "servicecatalog.k8s.io", "v1beta1"

_CLUSTER_KINDS = {
    "ClusterServiceBroker": "clusterservicebrokers",
    "ClusterServiceClass": "clusterserviceclasses",
    "ClusterServicePlan": "clusterserviceplans",
}
_NAMESPACED_KINDS = {
    "ServiceBinding": "servicebindings",
    "ServiceBroker": "servicebrokers",
    "ServiceClass": "serviceclasses",
    "ServiceInstance": "serviceinstances",
    "ServicePlan": "serviceplans",
}
_RESOURCES = sorted((_CLUSTER_KINDS | _NAMESPACED_KINDS).values())
_WITH_CHECKED_STATUS = ("clusterservicebrokers", "servicebindings", "servicebrokers")


@contextmanager
def service_catalog(
    cluster: Cluster, directory: Path, *, resolver: Path | None = None
) -> Iterator[None]:
    """Install Service Catalog and run it until the context is left.

    Args:
        cluster: Where to.
        directory: For certificates and the log.
        resolver: A ``resolv.conf`` for it alone, which only root can give it.
    """
    cluster.apply(*_definitions())
    for resource in _RESOURCES:
        cluster.wait(f"customresourcedefinition/{resource}.{GROUP}", "condition=Established")

    authority, port = trustme.CA(), free_port()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(directory / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(directory / "tls.crt")
    program = cluster.programs["service-catalog"]
    if resolver is not None:
        program = _resolving(program, resolver, directory)
    with running(
        program,
        f"--kubeconfig={cluster.kubeconfig}",
        f"--webhook-port={port}",
        f"--webhook-certificates={directory}",
        "--logtostderr",
        "--v=4",
        log_file=directory / "service-catalog.log",
        # There is nothing at this path; that it is said so is what counts.
        is_ready=lambda: answers(f"https://127.0.0.1:{port}/healthz", status=404),
    ):
        trusted = b64encode(authority.cert_pem.bytes()).decode()
        cluster.apply(*_webhooks(f"https://127.0.0.1:{port}", trusted))
        yield


def _resolving(program: Path, resolver: Path, directory: Path) -> Path:
    """Write a program that runs another one with a ``resolv.conf`` of its own."""
    wrapped = directory / "service-catalog"
    wrapped.write_text(
        "#!/bin/sh\nexec unshare --mount --propagation=private sh -c"
        f""" 'mount --bind {resolver} /etc/resolv.conf && exec {program} "$@"' sh "$@"\n""",
        "utf-8",
    )
    wrapped.chmod(0o755)
    return wrapped


def _definitions() -> Iterator[dict[str, Any]]:
    """Compose the custom resource definitions, without a schema, as they were released."""
    for scope, kinds in (("Cluster", _CLUSTER_KINDS), ("Namespaced", _NAMESPACED_KINDS)):
        for kind, plural in kinds.items():
            yield {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {
                    "name": f"{plural}.{GROUP}",
                    "annotations": {
                        # What the API server wants of a group that ends in k8s.io.
                        "api-approved.kubernetes.io": "unapproved, older than the rule"
                    },
                },
                "spec": {
                    "group": GROUP,
                    "scope": scope,
                    "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
                    "versions": [
                        {
                            "name": VERSION,
                            "served": True,
                            "storage": True,
                            "subresources": {"status": {}},
                            "schema": {
                                "openAPIV3Schema": {
                                    "type": "object",
                                    "x-kubernetes-preserve-unknown-fields": True,
                                }
                            },
                        }
                    ],
                },
            }


def _webhooks(url: str, trusted: str) -> Iterator[dict[str, Any]]:
    """Compose the registrations of the webhooks.

    Args:
        url: Where they listen.
        trusted: Base64 of the authority of their certificate.
    """
    changes = [_webhook("mutating", name, url, trusted) for name in _RESOURCES]
    checks = [_webhook("validating", name, url, trusted) for name in _RESOURCES]
    checks += [
        _webhook("validating", f"{name}/status", url, trusted) for name in _WITH_CHECKED_STATUS
    ]
    for kind, hooks in (("Mutating", changes), ("Validating", checks)):
        yield {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{kind}WebhookConfiguration",
            "metadata": {"name": "service-catalog"},
            "webhooks": hooks,
        }


def _webhook(verb: str, resource: str, url: str, trusted: str) -> dict[str, Any]:
    return {
        "name": f"{verb}.{resource.replace('/', '.')}.{GROUP}",
        "clientConfig": {"url": f"{url}/{verb}-{resource}", "caBundle": trusted},
        "rules": [
            {
                "apiGroups": [GROUP],
                "apiVersions": [VERSION],
                "operations": ["UPDATE"] if "/" in resource else ["CREATE", "UPDATE"],
                "resources": [resource],
            }
        ],
        "failurePolicy": "Fail",
        "sideEffects": "None",
        # What the released webhooks speak; the API server still does, too.
        "admissionReviewVersions": ["v1beta1"],
    }
