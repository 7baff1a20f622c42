"""etcd, kube-apiserver and kube-controller-manager on free ports of 127.0.0.1.

There is no node: nothing runs pods here. What does not need one is real: authentication, RBAC,
admission with Pod Security, custom resources, webhooks, namespaces that go away.
"""

from __future__ import annotations

import json
import secrets
import ssl
from base64 import b64encode
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.e2e.cluster.daemon import answers, running
from tests.e2e.cluster.kubectl import Cluster
from tests.support.process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.e2e.cluster.programs import Programs

_LOCAL = "127.0.0.1"


@contextmanager
def control_plane(programs: Programs, directory: Path) -> Iterator[Cluster]:
    """Run a control plane until the context is left.

    Args:
        programs: Where the programs are.
        directory: An empty one, for data, certificates, logs and the kubeconfig.

    Yields:
        The cluster, for its administrator.
    """
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.crt")
    server = authority.issue_cert(_LOCAL, "localhost", "kubernetes.default.svc")
    server.private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    client = authority.issue_cert(
        "kube-apiserver", common_name="kube-apiserver", organization_name="system:masters"
    )
    client.private_key_and_cert_chain_pem.write_to_path(directory / "kubelet-client.pem")
    _write_key(directory / "service-accounts.key")
    token = secrets.token_urlsafe(32)
    _write_private(directory / "tokens.csv", f'{token},admin,admin,"system:masters"\n')

    etcd, port = f"http://{_LOCAL}:{free_port()}", free_port()
    cluster = Cluster(directory / "kubeconfig", programs)
    _write_private(cluster.kubeconfig, _kubeconfig(f"https://{_LOCAL}:{port}", authority, token))

    with ExitStack() as stack:
        stack.enter_context(_etcd(programs, directory, etcd))
        stack.enter_context(_apiserver(programs, directory, etcd, port, authority))
        stack.enter_context(_controllers(programs, directory, cluster.kubeconfig, authority))
        cluster.kubectl("wait", "--for=create", "serviceaccount/default", "--timeout=60s")
        yield cluster


@contextmanager
def _etcd(programs: Programs, directory: Path, url: str) -> Iterator[None]:
    peers = f"http://{_LOCAL}:{free_port()}"
    with running(
        programs["etcd"],
        f"--data-dir={directory / 'etcd'}",
        f"--listen-client-urls={url}",
        f"--advertise-client-urls={url}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=default={peers}",
        "--unsafe-no-fsync",
        log_file=directory / "etcd.log",
        is_ready=lambda: answers(f"{url}/health"),
    ):
        yield


@contextmanager
def _apiserver(
    programs: Programs, directory: Path, etcd: str, port: int, authority: trustme.CA
) -> Iterator[None]:
    trust = _trust(authority)
    with running(
        programs["kube-apiserver"],
        f"--etcd-servers={etcd}",
        f"--bind-address={_LOCAL}",
        f"--advertise-address={_LOCAL}",
        # The address of a loopback interface is not one that pods could use.
        "--endpoint-reconciler-type=none",
        f"--secure-port={port}",
        f"--tls-cert-file={directory / 'server.pem'}",
        f"--tls-private-key-file={directory / 'server.pem'}",
        f"--token-auth-file={directory / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={directory / 'service-accounts.key'}",
        f"--service-account-signing-key-file={directory / 'service-accounts.key'}",
        "--service-cluster-ip-range=10.96.0.0/16",
        f"--kubelet-client-certificate={directory / 'kubelet-client.pem'}",
        f"--kubelet-client-key={directory / 'kubelet-client.pem'}",
        "--kubelet-preferred-address-types=InternalIP",
        log_file=directory / "kube-apiserver.log",
        is_ready=lambda: answers(f"https://{_LOCAL}:{port}/readyz", trust),
    ):
        yield


@contextmanager
def _controllers(
    programs: Programs, directory: Path, kubeconfig: Path, authority: trustme.CA
) -> Iterator[None]:
    port, trust = free_port(), _trust(authority)
    with running(
        programs["kube-controller-manager"],
        f"--kubeconfig={kubeconfig}",
        f"--bind-address={_LOCAL}",
        f"--secure-port={port}",
        f"--tls-cert-file={directory / 'server.pem'}",
        f"--tls-private-key-file={directory / 'server.pem'}",
        f"--root-ca-file={directory / 'ca.crt'}",
        f"--service-account-private-key-file={directory / 'service-accounts.key'}",
        "--use-service-account-credentials",
        "--leader-elect=false",
        log_file=directory / "kube-controller-manager.log",
        is_ready=lambda: answers(f"https://{_LOCAL}:{port}/healthz", trust),
    ):
        yield


def _kubeconfig(server: str, authority: trustme.CA, token: str) -> str:
    """Compose a kubeconfig; JSON is YAML."""
    trusted = authority.cert_pem.bytes()
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "e2e",
                    "cluster": {
                        "server": server,
                        "certificate-authority-data": b64encode(trusted).decode(),
                    },
                }
            ],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "e2e", "context": {"cluster": "e2e", "user": "admin"}}],
            "current-context": "e2e",
        }
    )


def _trust(authority: trustme.CA) -> ssl.SSLContext:
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return trust


def _write_key(file: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    _write_private(file, pem.decode())


def _write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text, "utf-8")
