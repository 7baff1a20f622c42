"""The chart, with the real Helm against a real API server."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any

import pytest
import trustme
from cryptography import x509

from tests.e2e.chart import (
    CATALOG,
    CHART,
    DATABASES,
    VALUES,
    dry_run,
    parse,
    pods_of,
    values_file,
)
from tests.e2e.cluster.kubectl import CommandError
from tests.e2e.definitions import CERTIFICATES, SERVICE_MONITORS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.e2e.cluster.kubectl import Cluster

APIS = (
    "--api-versions=servicecatalog.k8s.io/v1beta1",
    "--api-versions=monitoring.coreos.com/v1",
)
CERT_MANAGER = {"source": "certManager", "issuerRef": {"name": "internal"}}
OWN_CERTIFICATE = {"source": "secret", "secretName": "mine"}
PRIVILEGED_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "privileged"},
    "spec": {"containers": [{"name": "any", "image": "any"}]},
}


@pytest.fixture(scope="module")
def with_kinds(catalog_cluster: Cluster) -> Cluster:
    """Return the cluster, with certificates and ServiceMonitors, but nobody to act on them."""
    define(catalog_cluster, CERTIFICATES, SERVICE_MONITORS)
    return catalog_cluster


@pytest.fixture
def restricted(with_kinds: Cluster) -> Iterator[Cluster]:
    """Return a namespace that enforces the restricted Pod Security Standard."""
    name = f"restricted-{secrets.token_hex(4)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    with_kinds.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    )
    yield with_kinds.within(name)
    with_kinds.kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_lint(restricted: Cluster, values: Mapping[str, Any], tmp_path: Path) -> None:
    """Helm finds nothing to object to."""
    restricted.helm("lint", "--strict", str(CHART), f"--values={values_file(values, tmp_path)}")


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_every_object_is_accepted(
    restricted: Cluster, values: Mapping[str, Any], tmp_path: Path
) -> None:
    """The API server takes each object, and each Pod in a namespace that is restricted."""
    objects = render(restricted, tmp_path, values, *APIS)
    account = next((entry for entry in objects if entry["kind"] == "ServiceAccount"), None)
    if account is not None:
        restricted.apply(account)
        objects.remove(account)
    # Without one of its own, a Pod has the account that the cluster gives every namespace.
    restricted.wait("serviceaccount/default", "create")
    pods = list(pods_of(objects))
    assert pods
    for entry in (*objects, *pods):
        dry_run(restricted, entry)


def test_the_namespace_is_restricted(restricted: Cluster) -> None:
    """A Pod that is not confined is refused: the test before this one can fail."""
    with pytest.raises(CommandError, match="violates PodSecurity"):
        dry_run(restricted, PRIVILEGED_POD)


@pytest.mark.parametrize(
    ("kind", "change", "complaint"),
    [
        ("Certificate", {"secretNames": "a"}, "unknown field"),
        ("Certificate", {"issuerRef": {"kind": "Issuer"}}, "issuerRef.name: Required"),
        ("ServiceMonitor", {"endpoints": [{"tls": {}}]}, "unknown field"),
        ("ServiceMonitor", {"endpoints": [{"interval": "soon"}]}, "should match"),
    ],
)
def test_definitions_refuse_what_their_authors_would(
    restricted: Cluster, tmp_path: Path, kind: str, change: dict[str, Any], complaint: str
) -> None:
    """Others' kinds are checked, too: the acceptance of what the chart renders can fail."""
    values = {"tls": CERT_MANAGER, "serviceMonitor": {"enabled": True}}
    rendered = render(restricted, tmp_path, values, *APIS)
    (entry,) = (entry for entry in rendered if entry["kind"] == kind)
    with pytest.raises(CommandError, match=complaint):
        dry_run(restricted, entry | {"spec": entry["spec"] | change})


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES.keys())
def test_every_pod_may_reach_what_it_needs(
    restricted: Cluster, values: Mapping[str, Any], tmp_path: Path
) -> None:
    """One policy selects each Pod, so that it works in a namespace that denies all else.

    All but the database go to DNS; to a database go the broker, the pod of ``helm test``, and the
    Job that prepares the quick start; and to the broker, that pod alone.
    """
    objects = render(restricted, tmp_path, values, *APIS)
    policies = [entry["spec"] for entry in objects if entry["kind"] == "NetworkPolicy"]
    if not values.get("networkPolicy", {}).get("enabled", True):
        assert not policies
        return
    databases = set(values.get("networkPolicy", {}).get("databasePorts", [5432]))
    dns = set(values.get("networkPolicy", {}).get("dnsPorts", [53, 5353]))
    wanted = {
        "broker": dns | databases,
        "test": dns | databases | {8080},
        "prepare": dns | {5432},
        "postgresql": set(),
    }
    for pod in pods_of(objects):
        labels = pod["metadata"]["labels"]
        (policy,) = (
            policy
            for policy in policies
            if policy["podSelector"]["matchLabels"].items() <= labels.items()
        )
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        reached = {port["port"] for rule in policy.get("egress", ()) for port in rule["ports"]}
        assert reached == wanted[labels["app.kubernetes.io/component"]]


def test_the_quick_start_is_reached_wherever_databases_are(
    restricted: Cluster, tmp_path: Path
) -> None:
    """Neither other ports nor other addresses for databases fence the quick start's off."""
    elsewhere = {"databasePorts": [6432], "to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}
    objects = render(restricted, tmp_path, {"networkPolicy": elsewhere})
    policies = {
        entry["metadata"]["name"]: entry["spec"]
        for entry in objects
        if entry["kind"] == "NetworkPolicy"
    }
    server = policies["pgbroker-postgresql"]["podSelector"]
    for name in ("pgbroker", "pgbroker-smoke", "pgbroker-postgresql-prepare"):
        ways = [rule for rule in policies[name]["egress"] if {"port": 5432} in rule["ports"]]
        assert [rule["to"] for rule in ways] == [[{"podSelector": server}]]


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        ({}, {"scheme": "https", "tlsConfig": "pgbroker-tls"}),
        (CERT_MANAGER, {"scheme": "https", "tlsConfig": "pgbroker-tls"}),
        (OWN_CERTIFICATE, {"scheme": "https", "tlsConfig": {"insecureSkipVerify": True}}),
        ({"source": "none"}, {"scheme": "http"}),
    ],
    ids=("self-signed", "cert-manager", "of its own", "none"),
)
def test_a_service_monitor_selects_the_broker(
    restricted: Cluster, tmp_path: Path, tls: dict[str, Any], expected: dict[str, Any]
) -> None:
    """It finds exactly the broker's Service, by a port that is there, and speaks its protocol."""
    values = {"tls": tls, "serviceMonitor": {"enabled": True, "labels": {"release": "mine"}}}
    install(restricted, "install", tmp_path, values)
    monitor = restricted.get("servicemonitor", "pgbroker")
    assert monitor["metadata"]["labels"]["release"] == "mine"
    wanted = monitor["spec"]["selector"]["matchLabels"]
    found = restricted.names("services", ",".join(f"{key}={wanted[key]}" for key in wanted))
    assert found == ["pgbroker"]
    (endpoint,) = monitor["spec"]["endpoints"]
    (port,) = restricted.get("service", "pgbroker")["spec"]["ports"]
    secret = expected.get("tlsConfig")
    if isinstance(secret, str):
        trusted = {"secret": {"name": secret, "key": "ca.crt"}}
        name = f"pgbroker.{restricted.namespace}.svc"
        expected = expected | {"tlsConfig": {"ca": trusted, "serverName": name}}
    assert endpoint == {"port": port["name"], "path": "/metrics", "interval": "30s"} | expected


def test_without_the_prometheus_operator_there_is_no_monitor(
    restricted: Cluster, tmp_path: Path
) -> None:
    """A cluster that does not know ServiceMonitors is sent none, and its user is told so."""
    definition = f"customresourcedefinition/{SERVICE_MONITORS['metadata']['name']}"
    restricted.kubectl("delete", definition)
    try:
        notes = install(restricted, "install", tmp_path, {"serviceMonitor": {"enabled": True}})
    finally:
        define(restricted, SERVICE_MONITORS)
    assert "serviceMonitor.enabled has had no effect" in notes
    assert not restricted.names("servicemonitors")


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
    """Nothing but another checksum in the pod template, and that for another catalog only."""
    annotations: list[dict[str, str]] = []
    templates: list[Any] = []
    for catalog in (CATALOG, CATALOG, CATALOG.replace("name: free", "name: gratis")):
        verb = "upgrade" if templates else "install"
        install(restricted, verb, tmp_path, DATABASES | {"catalog": catalog})
        template = restricted.get("deployment", "pgbroker")["spec"]["template"]
        annotations.append(template["metadata"].pop("annotations"))
        templates.append(template)
    assert templates[0] == templates[1] == templates[2]
    assert annotations[0] == annotations[1]
    assert annotations[1].pop("checksum/catalog") != annotations[2].pop("checksum/catalog")
    assert annotations[1] == annotations[2]


@pytest.mark.parametrize(
    "change", [{"username": "somebody"}, {"password": "another-one-of-mine"}, {"files": {"a": "b"}}]
)
def test_a_changed_setting_rolls_the_pods(
    restricted: Cluster, tmp_path: Path, change: dict[str, Any]
) -> None:
    """What goes into the Secret is in the pod template as a checksum."""
    name = "checksum/settings"
    checksums = []
    for values in (DATABASES, DATABASES | change):
        (deployment,) = (
            entry for entry in render(restricted, tmp_path, values) if entry["kind"] == "Deployment"
        )
        checksums.append(deployment["spec"]["template"]["metadata"]["annotations"][name])
    assert checksums[0] != checksums[1]


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


def test_a_new_certificate_of_its_own(restricted: Cluster, tmp_path: Path) -> None:
    """Without its Secret, the next upgrade makes another certificate, and registers that."""
    name = restricted.namespace
    values = {"serviceCatalog": {"register": True, "name": name}}
    install(restricted, "install", tmp_path, values)
    before = restricted.get("secret", "pgbroker-tls")["data"]
    restricted.kubectl("delete", "secret", "pgbroker-tls")
    install(restricted, "upgrade", tmp_path, values)
    after = restricted.get("secret", "pgbroker-tls")["data"]
    assert after["ca.crt"] != before["ca.crt"]
    assert restricted.get("clusterservicebroker", name)["spec"]["caBundle"] == after["ca.crt"]
    restricted.helm("uninstall", "pgbroker", f"--namespace={name}")


def test_registration_trusts_what_it_is_told(restricted: Cluster, tmp_path: Path) -> None:
    """An authority among the values comes before the one in the certificate's Secret."""
    told, found = authority(), authority()
    restricted.apply(certificate_secret("mine", found))
    registration = {"register": True, "scope": "Namespace", "caBundle": told}
    values = {"serviceCatalog": registration, "tls": OWN_CERTIFICATE}
    notes = install(restricted, "install", tmp_path, values)
    assert restricted.get("servicebroker", "pgbroker")["spec"]["caBundle"] == told
    assert "no caBundle" not in notes


def test_registration_trusts_a_secret_of_yours(restricted: Cluster, tmp_path: Path) -> None:
    """The authority beside a certificate of yours is registered, at the first installation."""
    found = authority()
    restricted.apply(certificate_secret("mine", found))
    registration = {"register": True, "scope": "Namespace"}
    values = {"serviceCatalog": registration, "tls": OWN_CERTIFICATE}
    notes = install(restricted, "install", tmp_path, values)
    assert restricted.get("servicebroker", "pgbroker")["spec"]["caBundle"] == found
    assert "no caBundle" not in notes


def test_registration_trusts_cert_manager_later(restricted: Cluster, tmp_path: Path) -> None:
    """Nothing is known before there is a certificate, which is said; an upgrade knows it."""
    registration = {"register": True, "scope": "Namespace"}
    values = {"serviceCatalog": registration, "tls": CERT_MANAGER}
    notes = install(restricted, "install", tmp_path, values)
    assert "The certificate is not there yet" in notes
    assert "wait certificate/pgbroker --for=condition=Ready" in notes
    assert "caBundle" not in restricted.get("servicebroker", "pgbroker")["spec"]
    # As cert-manager would.
    issued = authority()
    secret = restricted.get("certificate", "pgbroker")["spec"]["secretName"]
    restricted.apply(certificate_secret(secret, issued))
    release = ("pgbroker", str(CHART), f"--namespace={restricted.namespace}")
    assert "--reset-then-reuse-values" in notes
    notes = restricted.helm("upgrade", *release, "--reset-then-reuse-values")
    assert "The certificate is not there yet" not in notes
    assert restricted.get("servicebroker", "pgbroker")["spec"]["caBundle"] == issued


def test_registration_wants_service_catalog(restricted: Cluster, tmp_path: Path) -> None:
    """A cluster without its kinds is told what to install first."""
    with pytest.raises(CommandError, match="install Service Catalog first"):
        render(restricted, tmp_path, {"serviceCatalog": {"register": True}})


@pytest.mark.parametrize(
    ("values", "said", "unsaid"),
    [
        ({}, ("serviceCatalog.register=true", "This is the quick start"), ("It is registered",)),
        (
            DATABASES | {"serviceCatalog": {"register": True, "scope": "Namespace"}},
            ("It is registered", "kubectl get serviceclasses"),
            ("serviceCatalog.register=true", "This is the quick start"),
        ),
        (
            {"serviceCatalog": {"register": True, "scope": "Namespace"}, "tls": OWN_CERTIFICATE},
            ("The Secret mine has no ca.crt",),
            ("x509",),
        ),
        (
            {"existingSecret": "mine", "tls": {"source": "none"}},
            ("http://pgbroker.", "get secret mine"),
            ("stays when this release is uninstalled", "caBundle", "jsonpath='{.data.ca"),
        ),
    ],
    ids=("no values", "registered", "no authority", "existing secret"),
)
def test_notes_say_what_to_do_next(
    restricted: Cluster,
    tmp_path: Path,
    values: Mapping[str, Any],
    said: tuple[str, ...],
    unsaid: tuple[str, ...],
) -> None:
    """After an installation, its user reads what fits it, and nothing else."""
    notes = install(restricted, "install", tmp_path, values)
    _, _, notes = notes.partition("NOTES:")
    assert "rollout status deployment/pgbroker" in notes
    for text in said:
        assert text in notes
    for text in unsaid:
        assert text not in notes


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"stateDsn": "postgresql://db.example.com/state"}, "set both stateDsn and servers"),
        ({"replica": 2}, "replica"),
        ({"tls": {"source": "secret"}}, "secretName"),
        ({"tls": {"secretName": "mine"}}, "secretName"),
        ({"tls": {"source": "certManager"}}, "issuerRef"),
        ({"tls": None}, "missing property 'tls'"),
        ({"networkPolicy": {"dnsPorts": None}}, "missing property 'dnsPorts'"),
        ({"files": {"password": "another"}}, "/files/password"),
        ({"podLabels": {"app.kubernetes.io/name": "another"}}, "/podLabels/app.kubernetes.io"),
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


def authority() -> str:
    """Return base64 of the PEM certificate of a new authority."""
    return base64.b64encode(trustme.CA().cert_pem.bytes()).decode()


def certificate_secret(name: str, trusted: str) -> dict[str, Any]:
    """Return the Secret of a certificate, as far as its authority is of interest."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "type": "kubernetes.io/tls",
        "data": {"ca.crt": trusted, "tls.crt": "", "tls.key": ""},
    }


def define(cluster: Cluster, *definitions: Mapping[str, Any]) -> None:
    """Teach the API server kinds that are not its own."""
    cluster.apply(*definitions)
    for definition in definitions:
        name = definition["metadata"]["name"]
        cluster.wait(f"customresourcedefinition/{name}", "condition=Established")


def render(
    namespace: Cluster, directory: Path, values: Mapping[str, Any], *options: str
) -> list[dict[str, Any]]:
    """Return the objects that Helm makes of values without asking a cluster."""
    rendered = namespace.helm(
        "template",
        "pgbroker",
        str(CHART),
        f"--namespace={namespace.namespace}",
        f"--values={values_file(values, directory)}",
        *options,
    )
    return parse(rendered)


def install(
    namespace: Cluster, verb: str, directory: Path, values: Mapping[str, Any] | None = None
) -> str:
    """Install or upgrade a release named like the chart, and return what its user reads.

    Nothing waits for pods.
    """
    return namespace.helm(
        verb,
        "pgbroker",
        str(CHART),
        f"--namespace={namespace.namespace}",
        f"--values={values_file(values or {}, directory)}",
    )
