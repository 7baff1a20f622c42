"""Whether this machine can run pods: looked at before anything is built for them.

``python -m tests.e2e.node.needs`` says what to install, and ends with 1; where nobody can run a
container, it says that the tests are skipped, and ends with ``SKIPPED``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

SKIPPED = 77
"""Exit status: this machine runs no containers, whatever is installed (as automake has it)."""

_PATH = os.pathsep.join(
    (os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin")
)

_PACKAGES = {
    "containerd": "containerd",
    "ctr": "containerd",
    "debootstrap": "debootstrap",
    "dnsmasq": "dnsmasq-base",
    "docker-compose": "docker-compose",
    "dockerd": "docker.io",
    "iptables": "iptables",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
}
"""Debian's package of each program."""


def missing() -> str | None:
    """Return what has to be done first, if anything."""
    packages = {
        package for name, package in _PACKAGES.items() if shutil.which(name, path=_PATH) is None
    }
    if packages:
        return f"Pods need: apt install {' '.join(sorted(packages))}"
    if os.geteuid() != 0:
        return "Pods need root: sudo make e2e-node"
    return None


def obstacle() -> str | None:
    """Return why no container can run here, if none can; to be asked of root."""
    tried = subprocess.run(
        ["/usr/bin/unshare", "--mount", "--pid", "--net", "--fork", "--mount-proc", "/bin/true"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if tried.returncode == 0:
        return None
    return f"Skipped: no container can run here ({tried.stderr.strip()})."


def main() -> None:
    """Say what is in the way, if anything is."""
    if (lack := missing()) is not None:
        sys.exit(lack)
    if (reason := obstacle()) is not None:
        sys.stderr.write(f"{reason}\n")
        sys.exit(SKIPPED)


if __name__ == "__main__":
    main()
