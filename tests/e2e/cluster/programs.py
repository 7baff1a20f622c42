"""The programs of the control plane: given by ``KUBEBUILDER_ASSETS``, or built once with Go.

``python -m tests.e2e.cluster.programs`` builds what is missing and prints where everything is, with
the argument ``node`` also what runs pods.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

GIVEN = "KUBEBUILDER_ASSETS"
"""Environment variable: a folder with programs to use as they are (the convention of envtest)."""

CACHE = "XDG_CACHE_HOME"

BUILD_TIMEOUT = 2700
"""Seconds; four to eight minutes is usual on two cores, most of it kube-apiserver."""

_INSTALLED = "/usr/local/go/bin"
"""Where Go's installation instructions put it, which is not always on the PATH."""

_SOURCES = Path(__file__).parents[1] / "go"
_KUBERNETES = (1, 37, 2)
_SYMBOLS = {
    "k8s.io/component-base/version.gitVersion": "v{}.{}.{}".format(*_KUBERNETES),
    "k8s.io/component-base/version.gitMajor": _KUBERNETES[0],
    "k8s.io/component-base/version.gitMinor": _KUBERNETES[1],
    # What `helm template` takes for the version of the cluster.
    "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor": _KUBERNETES[0],
    "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor": _KUBERNETES[1],
}
_LINK = "-s -w " + " ".join(f"-X {name}={value}" for name, value in _SYMBOLS.items())

PACKAGES = {
    "kubernetes": {
        "etcd": "go.etcd.io/etcd/server/v3",
        "helm": "helm.sh/helm/v3/cmd/helm",
        "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
        "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
        "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    },
    "servicecatalog": {"service-catalog": "."},
}
"""Go package of each program, by the folder of the module that pins its version."""

_NODE_PACKAGES = {
    "kubernetes": {
        "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
        "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
        "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    }
}

Programs = Mapping[str, Path]

OLDEST_GO = (1, 26)
"""What the modules in ``tests/e2e/go`` need."""

_REMEDY = (
    f"Install Go {OLDEST_GO[0]}.{OLDEST_GO[1]} or newer (https://go.dev/doc/install), "
    f"or set {GIVEN} to a folder with these programs."
)


class ProgramsMissingError(Exception):
    """A program is neither given nor can it be built; the message says what to install."""


def find_programs(*, node: bool = False) -> Programs:
    """Return the path of every program by its name, and build what is neither given nor cached.

    Args:
        node: Those of a node, in place of those of the control plane.

    Raises:
        ProgramsMissingError: Something has to be built, and it cannot be.
    """
    given = os.environ.get(GIVEN)
    found: dict[str, Path] = {}
    for module, packages in (_NODE_PACKAGES if node else PACKAGES).items():
        wanted = dict(packages)
        for name in packages:
            if given and (Path(given) / name).is_file():
                found[name] = Path(given) / name
                del wanted[name]
        if wanted:
            directory = _cached(module, wanted)
            found |= {name: directory / name for name in wanted}
    return found


def cache_folder() -> Path:
    """Return where things are kept that take long to make."""
    return Path(os.environ.get(CACHE) or Path.home() / ".cache") / "pgbroker" / "e2e"


def _cached(module: str, packages: Mapping[str, str]) -> Path:
    directory = cache_folder() / f"{module}-{_fingerprint(_SOURCES / module)}"
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be building the same
        missing = {
            name: package for name, package in packages.items() if not (directory / name).is_file()
        }
        if missing:
            _build(_SOURCES / module, missing, directory)
    return directory


def _fingerprint(sources: Path) -> str:
    digest = hashlib.sha256(_LINK.encode())
    for file in sorted(sources.iterdir()):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _build(sources: Path, packages: Mapping[str, str], directory: Path) -> None:
    go = shutil.which("go") or shutil.which("go", path=_INSTALLED)
    if go is None:
        raise ProgramsMissingError(
            f"Go is not installed, and {', '.join(packages)} have to be built with it. {_REMEDY}"
        )
    sys.stderr.write(f"Building {', '.join(packages)}; this is done once ...\n")
    with tempfile.TemporaryDirectory(dir=directory) as made:
        # All in one command: they share most of their packages.
        result = subprocess.run(
            [
                *(go, "build", "-trimpath", "-ldflags", _LINK, "-o", f"{made}/"),
                *packages.values(),
            ],
            cwd=sources,
            env={
                **os.environ,
                "CGO_ENABLED": "0",
                "GOFLAGS": "-mod=readonly -buildvcs=false -modcacherw",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BUILD_TIMEOUT,
            check=False,
        )
        if result.returncode != 0:
            version = _version_of(go)
            if version < OLDEST_GO:
                names = ", ".join(packages)
                raise ProgramsMissingError(
                    f"{go} is Go {version[0]}.{version[1]}, which is too old to build {names}. "
                    f"{_REMEDY}"
                )
            raise ProgramsMissingError(f"go build failed in {sources}:\n{result.stdout[-4000:]}")
        for name, package in packages.items():
            (Path(made) / _name_of(package, sources)).rename(directory / name)


def _version_of(go: str) -> tuple[int, int]:
    """Return the version of an installed Go; a newer one that it may fetch does not count."""
    told = subprocess.run(
        [go, "env", "GOVERSION"],
        env={**os.environ, "GOTOOLCHAIN": "local"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    ).stdout
    found = re.match(r"go(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _name_of(package: str, sources: Path) -> str:
    """Return the name that ``go build`` gives a package's program."""
    if package == ".":
        return sources.name
    last, *others = reversed(package.split("/"))
    is_major_version = last.removeprefix("v").isdigit()
    return others[0] if is_major_version else last


def main() -> None:
    """Print where the programs are; end with a message when they cannot be had.

    With the argument ``node``, those of a node are among them.
    """
    try:
        found = dict(find_programs())
        if "node" in sys.argv[1:]:
            found |= find_programs(node=True)
        for name, path in found.items():
            sys.stdout.write(f"{name}: {path}\n")
    except ProgramsMissingError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
