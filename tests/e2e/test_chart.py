"""The chart, with the real Helm against a real API server."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from tests.e2e.chart import CHART, DATABASES, VALUES, dry_run, parse, pods_of, values_file
from tests.e2e.cluster.kubectl import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.e2e.cluster.kubectl import Cluster

BROKER_API = "--api-versions=servicecatalog.k8s.io/v1beta1"
PRIVILEGED_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "privileged"},
    "spec": {"containers": [{"name": "any", "image": "any"}]},
}


@pytest.fixture(scope="module")
def with_certificates(catalog_cluster: Cluster) -> Cluster:
    """Return the cluster, with cert-manager's kind of certificates, but nobody to issue them."""
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {
            "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        },
    }
    names = {"kind": "Certificate", "plural": "certificates", "singular": "certificate"}
    catalog_cluster.apply(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": "certificates.cert-manager.io"},
            "spec": {
                "group": "cert-manager.io",
                "scope": "Namespaced",
                "names": names,
                "versions": [version],
            },
        }
    )
    definition = "customresourcedefinition/certificates.cert-manager.io"
    catalog_cluster.wait(definition, "condition=Established")
    return catalog_cluster


@pytest.fixture
def restricted(with_certificates: Cluster) -> Iterator[Cluster]:
    """Return a namespace that enforces the restricted Pod Security Standard."""
    name = f"restricted-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    with_certificates.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    )
    yield with_certificates.within(name)
    with_certificates.kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_lint(restricted: Cluster, values: Mapping[str, Any], tmp_path: Path) -> None:
    """Helm finds nothing to object to."""
    restricted.helm("lint", "--strict", str(CHART), f"--values={values_file(values, tmp_path)}")


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_every_object_is_accepted(
    restricted: Cluster, values: Mapping[str, Any], tmp_path: Path
) -> None:
    """The API server takes each object, and each Pod in a namespace that is restricted."""
    rendered = restricted.helm(
        "template",
        "pgbroker",
        str(CHART),
        BROKER_API,
        f"--namespace={restricted.namespace}",
        f"--values={values_file(values, tmp_path)}",
    )
    objects = parse(rendered)
    account = next((entry for entry in objects if entry["kind"] == "ServiceAccount"), None)
    if account is not None:
        restricted.apply(account)
        objects.remove(account)
    pods = list(pods_of(objects))
    assert pods
    for entry in (*objects, *pods):
        dry_run(restricted, entry)


def test_the_namespace_is_restricted(restricted: Cluster) -> None:
    """A Pod that is not confined is refused: the test before this one can fail."""
    with pytest.raises(CommandError, match="violates PodSecurity"):
        dry_run(restricted, PRIVILEGED_POD)


def test_an_upgrade_keeps_what_was_generated(restricted: Cluster, tmp_path: Path) -> None:
    """Passwords, keys, connection strings and certificates are the same after an upgrade."""
    install(restricted, "install", tmp_path)
    before = {name: restricted.get("secret", name)["data"] for name in generated()}
    install(restricted, "upgrade", tmp_path, {"replicas": 3})
    assert restricted.get("deployment", "pgbroker")["spec"]["replicas"] == 3
    assert before == {name: restricted.get("secret", name)["data"] for name in generated()}
    assert len(base64.b64decode(before["pgbroker"]["password"])) == 32


def test_an_uninstalled_release_comes_back(restricted: Cluster, tmp_path: Path) -> None:
    """The Secret outlives the release, and the next release of that name takes it over."""
    install(restricted, "install", tmp_path)
    before = restricted.secret("pgbroker")
    restricted.helm("uninstall", "pgbroker", f"--namespace={restricted.namespace}")
    assert "pgbroker" not in restricted.names("deployments")
    install(restricted, "install", tmp_path)
    assert restricted.secret("pgbroker") == before


def test_a_changed_catalog_rolls_the_pods(restricted: Cluster, tmp_path: Path) -> None:
    """Another catalog or another setting changes the pod template; the same values do not."""
    templates: list[Any] = []
    for values in ({}, {}, {"catalog": "offerings: []"}, {"username": "somebody"}):
        verb = "upgrade" if templates else "install"
        install(restricted, verb, tmp_path, DATABASES | values)
        templates.append(restricted.get("deployment", "pgbroker")["spec"]["template"])
    assert templates[0] == templates[1]
    assert templates[1] != templates[2]
    assert templates[0] != templates[3]


@pytest.mark.parametrize(
    ("scope", "kind"), [("Cluster", "clusterservicebroker"), ("Namespace", "servicebroker")]
)
def test_registration_trusts_the_certificate(
    restricted: Cluster, tmp_path: Path, scope: str, kind: str
) -> None:
    """The registered broker has the authority that the self-signed certificate comes from."""
    name = restricted.namespace
    registration = {"register": True, "scope": scope, "name": name}
    install(restricted, "install", tmp_path, {"serviceCatalog": registration})
    registered = restricted.get(kind, name)["spec"]
    data = restricted.get("secret", "pgbroker-tls")["data"]
    assert registered["caBundle"] == data["ca.crt"]
    authority = x509.load_pem_x509_certificate(base64.b64decode(data["ca.crt"]))
    certificate = x509.load_pem_x509_certificate(base64.b64decode(data["tls.crt"]))
    certificate.verify_directly_issued_by(authority)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    host = f"pgbroker.{name}.svc"
    assert host in names.get_values_for_type(x509.DNSName)
    assert registered["url"] == f"https://{host}:8080"
    restricted.helm("uninstall", "pgbroker", f"--namespace={name}")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"stateDsn": "postgresql://db.example.com/state"}, "set both stateDsn and servers"),
        ({"replica": 2}, "replica"),
        ({"tls": {"source": "secret"}}, "secretName"),
        ({"tls": {"secretName": "mine"}}, "secretName"),
        ({"tls": {"source": "certManager"}}, "issuerRef"),
    ],
    ids=str,
)
def test_wrong_values_are_refused(
    restricted: Cluster, tmp_path: Path, values: dict[str, Any], complaint: str
) -> None:
    """Values that cannot work are refused by name, before anything is installed."""
    with pytest.raises(CommandError, match=complaint):
        install(restricted, "install", tmp_path, values)
    assert "pgbroker" not in restricted.names("secrets")


def generated() -> tuple[str, ...]:
    """Return the names of the Secrets that an installation without values makes."""
    return ("pgbroker", "pgbroker-tls", "pgbroker-postgresql")


def install(
    namespace: Cluster, verb: str, directory: Path, values: Mapping[str, Any] | None = None
) -> None:
    """Install or upgrade a release named like the chart; nothing waits for pods."""
    namespace.helm(
        verb,
        "pgbroker",
        str(CHART),
        f"--namespace={namespace.namespace}",
        f"--values={values_file(values or {}, directory)}",
    )
