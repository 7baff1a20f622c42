"""A cluster with a node, Service Catalog, and the chart installed on it with no values."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.chart import CHART
from tests.e2e.cluster.programs import cache_folder, find_programs
from tests.e2e.cluster.service_catalog import service_catalog
from tests.e2e.node.containers import containers
from tests.e2e.node.images import build_images
from tests.e2e.node.machine import Names, node
from tests.e2e.node.needs import missing, obstacle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.cluster.kubectl import Cluster
    from tests.support.postgres import PostgresServer

_SERVICES = ("pgbroker", "pgbroker-postgresql")


@pytest.fixture(scope="session")
def machine() -> Iterator[Path]:
    """Return a folder for the node's data, after a look at whether this machine can be one."""
    if (lack := missing()) is not None:
        pytest.exit(lack, returncode=1)
    if (reason := obstacle()) is not None:
        pytest.skip(reason)
    # The kubelet's mounts are in it, and a long path makes its sockets unusable.
    directory = Path(tempfile.mkdtemp(prefix="pgbroker-node-"))
    yield directory
    for mounted in reversed(_mounts(directory)):
        subprocess.run(["/usr/bin/umount", mounted], timeout=30, check=True)
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def images(machine: Path, postgres: PostgresServer) -> Path:
    """Return an archive of all images."""
    return build_images(machine, postgres.bin_directory.parent, cache_folder())


@pytest.fixture(scope="session")
def names(machine: Path, images: Path, cluster: Cluster) -> Iterator[Names]:
    """Return the names that pods can resolve; there is a node from here on."""
    programs = find_programs(node=True)
    with (
        containers(machine, images) as socket,
        node(cluster, programs, machine, socket) as resolved,
    ):
        yield resolved


@pytest.fixture(scope="session")
def installation(
    cluster: Cluster, names: Names, machine: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Return the namespace of a release with no values but the registration."""
    catalog = tmp_path_factory.mktemp("service-catalog")
    with service_catalog(cluster, catalog, resolver=names.resolver):
        cluster.apply(_volume(machine / "data"))
        namespace = cluster.within("pgbroker")
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": "pgbroker", "labels": labels}
        cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        namespace.helm(
            "install",
            "pgbroker",
            str(CHART),
            "--namespace=pgbroker",
            "--set=serviceCatalog.register=true",
        )
        for service in _SERVICES:
            names.publish(namespace, service)
        try:
            yield namespace
        finally:
            cluster.kubectl("delete", "clusterservicebroker", "pgbroker", "--timeout=60s")
            cluster.kubectl("delete", "namespace", "pgbroker", "--timeout=150s")


def _mounts(directory: Path) -> list[str]:
    """Return what is still mounted below a folder: Docker and the kubelet leave one each."""
    lines = Path("/proc/self/mounts").read_text("utf-8").splitlines()
    points = [line.split()[1] for line in lines]
    return [point for point in points if point.startswith(f"{directory}/")]


def _volume(directory: Path) -> dict[str, object]:
    """Return a volume for the quick start: a folder of the image's user."""
    directory.mkdir()
    os.chown(directory, 999, 999)
    directory.chmod(0o700)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "quick-start"},
        "spec": {
            "capacity": {"storage": "8Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": str(directory)},
        },
    }
