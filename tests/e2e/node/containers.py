"""containerd, with a network for pods."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.cluster.daemon import running
from tests.e2e.node.images import PAUSE

if TYPE_CHECKING:
    from collections.abc import Iterator

PODS = "10.244.77.0/24"
SERVICES = "10.96.0.0/16"
ADDRESS = "10.244.78.1"
"""Of the node; on a bridge that nothing is plugged into, so that only this machine has it."""

_CONFIGURATION = """\
version = 2
root = "{directory}/containerd"
state = "{directory}/containerd-run"
[grpc]
address = "{directory}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "docker.io/library/{pause}"
# Where lowering a process's oom_score_adj is not allowed, as in some virtual machines.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "{directory}/cni"
"""


@contextmanager
def containers(directory: Path, images: Path) -> Iterator[Path]:
    """Run containerd until the context is left, with images imported.

    Args:
        directory: For its data; a short path, because of its sockets.
        images: An archive as ``docker save`` makes it.

    Yields:
        Its socket.
    """
    socket = directory / "containerd.sock"
    configuration = directory / "containerd.toml"
    configuration.write_text(_CONFIGURATION.format(directory=directory, pause=PAUSE), "utf-8")
    (directory / "cni").mkdir()
    (directory / "cni" / "pods.conflist").write_text(_network(directory), "utf-8")
    with running(
        Path("/usr/bin/containerd"),
        f"--config={configuration}",
        log_file=directory / "containerd.log",
        is_ready=lambda: _ctr(socket, "version"),
    ):
        assert _ctr(socket, "--namespace=k8s.io", "images", "import", str(images))
        yield socket


def _network(directory: Path) -> str:
    # A link of its own between each pod and the host: all traffic is routed, so that what
    # kube-proxy translates on the way there is translated on the way back.
    # There is a way to the node and to Services, and to nowhere else.
    addresses = {
        "type": "host-local",
        "subnet": PODS,
        "dataDir": str(directory / "addresses"),
        "routes": [{"dst": f"{ADDRESS}/32"}, {"dst": SERVICES}],
    }
    plugins = [
        {"type": "ptp", "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return json.dumps({"cniVersion": "0.4.0", "name": "pods", "plugins": plugins})


def _ctr(socket: Path, *arguments: str) -> bool:
    result = subprocess.run(
        ["/usr/bin/ctr", f"--address={socket}", *arguments],
        capture_output=True,
        timeout=300,
        check=False,
    )
    return result.returncode == 0
