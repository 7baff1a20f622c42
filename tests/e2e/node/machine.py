"""kubelet, kube-scheduler, kube-proxy and DNS: what turns this machine into a node."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.cluster.daemon import answers, running
from tests.e2e.node.containers import ADDRESS, PODS
from tests.support.process import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.cluster.kubectl import Cluster
    from tests.e2e.cluster.programs import Programs

NAME = "e2e"
_BRIDGE = "pgbroker-e2e"


class Names:
    """The names of Services: a real DNS server, told what there is.

    Args:
        directory: For the file that it reads.
    """

    def __init__(self, directory: Path) -> None:
        self.hosts = directory / "hosts"
        self.hosts.mkdir()
        self.resolver = directory / "resolv.conf"
        self.resolver.write_text(f"nameserver {ADDRESS}\noptions ndots:1\n", "utf-8")

    def publish(self, namespace: Cluster, service: str) -> None:
        """Let a Service's names lead to its cluster IP."""
        address = namespace.get("service", service)["spec"]["clusterIP"]
        name = f"{service}.{namespace.namespace}.svc"
        text = f"{address} {name} {name}.cluster.local\n"
        (self.hosts / name).write_text(text, "utf-8")


@contextmanager
def node(cluster: Cluster, programs: Programs, directory: Path, socket: Path) -> Iterator[Names]:
    """Run a node until the context is left.

    Args:
        cluster: Which one it belongs to.
        programs: Where kubelet, kube-scheduler and kube-proxy are.
        directory: For their data.
        socket: Of containerd.

    Yields:
        The names that its pods can resolve.
    """
    with ExitStack() as stack:
        stack.enter_context(_address())
        names = Names(directory)
        stack.enter_context(_dns(names, directory))
        stack.enter_context(_scheduler(cluster, programs, directory))
        stack.enter_context(_kubelet(cluster, programs, directory, socket, names))
        cluster.kubectl("wait", f"node/{NAME}", "--for=create", "--timeout=60s")
        cluster.wait(f"node/{NAME}", "condition=Ready", seconds=120)
        stack.enter_context(_proxy(cluster, programs, directory))
        yield names


@contextmanager
def _address() -> Iterator[None]:
    _ip("link", "add", _BRIDGE, "type", "bridge")
    try:
        _ip("address", "add", f"{ADDRESS}/32", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        yield
    finally:
        _ip("link", "delete", _BRIDGE)


@contextmanager
def _dns(names: Names, directory: Path) -> Iterator[None]:
    with running(
        Path("/usr/sbin/dnsmasq"),
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        f"--listen-address={ADDRESS}",
        "--bind-interfaces",
        "--no-resolv",
        "--no-hosts",
        # Nobody else is asked, and a name of these domains that is not there does not exist.
        "--local=/svc/cluster.local/",
        f"--hostsdir={names.hosts}",
        f"--pid-file={directory / 'dnsmasq.pid'}",
        "--user=root",
        log_file=directory / "dnsmasq.log",
        is_ready=(directory / "dnsmasq.pid").exists,
    ):
        yield


@contextmanager
def _scheduler(cluster: Cluster, programs: Programs, directory: Path) -> Iterator[None]:
    port = free_port()
    with running(
        programs["kube-scheduler"],
        f"--kubeconfig={cluster.kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--leader-elect=false",
        log_file=directory / "kube-scheduler.log",
        is_ready=lambda: answers(f"https://127.0.0.1:{port}/healthz"),
    ):
        yield


@contextmanager
def _proxy(cluster: Cluster, programs: Programs, directory: Path) -> Iterator[None]:
    port = free_port()
    try:
        with running(
            programs["kube-proxy"],
            f"--kubeconfig={cluster.kubeconfig}",
            f"--hostname-override={NAME}",
            "--proxy-mode=iptables",
            f"--cluster-cidr={PODS}",
            f"--healthz-bind-address=127.0.0.1:{port}",
            f"--metrics-bind-address=127.0.0.1:{free_port()}",
            "--nodeport-addresses=primary",
            "--iptables-localhost-nodeports=false",
            # The machine's own limits stay as they are.
            "--conntrack-max-per-core=0",
            "--conntrack-tcp-timeout-established=0",
            "--conntrack-tcp-timeout-close-wait=0",
            log_file=directory / "kube-proxy.log",
            is_ready=lambda: answers(f"http://127.0.0.1:{port}/livez"),
        ):
            yield
    finally:
        subprocess.run(
            [programs["kube-proxy"], "--cleanup"], capture_output=True, timeout=60, check=False
        )


@contextmanager
def _kubelet(
    cluster: Cluster, programs: Programs, directory: Path, socket: Path, names: Names
) -> Iterator[None]:
    port = free_port()
    configuration = directory / "kubelet.json"
    settings = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": ADDRESS,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(cluster.kubeconfig.parent / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "clusterDNS": [ADDRESS],
        "clusterDomain": "cluster.local",
        "containerRuntimeEndpoint": f"unix://{socket}",
        "enforceNodeAllocatable": [],
        "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%"},
        "failCgroupV1": False,
        "failSwapOn": False,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": port,
        "imageGCHighThresholdPercent": 100,
        "podLogsDir": str(directory / "pod-logs"),
        "resolvConf": str(names.resolver),
        "volumePluginDir": str(directory / "volume-plugins"),
    }
    configuration.write_text(json.dumps(settings), "utf-8")
    with running(
        programs["kubelet"],
        f"--config={configuration}",
        f"--kubeconfig={cluster.kubeconfig}",
        f"--root-dir={directory / 'kubelet'}",
        f"--cert-dir={directory / 'kubelet-certificates'}",
        f"--hostname-override={NAME}",
        f"--node-ip={ADDRESS}",
        log_file=directory / "kubelet.log",
        is_ready=lambda: answers(f"http://127.0.0.1:{port}/healthz"),
    ):
        yield


def _ip(*arguments: str) -> None:
    subprocess.run(["/usr/sbin/ip", *arguments], capture_output=True, timeout=30, check=True)
