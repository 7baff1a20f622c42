"""The images that pods run, without a registry: a base by debootstrap, the rest by Docker."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.cluster.daemon import running

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE, PAUSE = "python-base:local", "pause:local"
BROKER, POSTGRES = "pgbroker:0.1.0", "postgres:18"

_ROOT = Path(__file__).parents[3]
_PACKAGES = "ca-certificates,python3,python3-venv,python3-pip,libxml2,liblz4-1,libzstd1,libkrb5-3"
_AUTHORITIES = "etc/ssl/certs/ca-certificates.crt"
_BUILD_TIMEOUT = 900


def build_images(directory: Path, postgres: Path, cache: Path) -> Path:
    """Build every image and return an archive of them, as ``docker save`` makes it.

    Args:
        directory: For what is not kept.
        postgres: An installation of PostgreSQL, with ``bin`` and ``lib`` in it.
        cache: Where the base image's root file system is kept for the next time.
    """
    base = _base(cache)
    archive = directory / "images.tar"
    with docker_engine(directory) as docker:
        docker("import", "--change=ENV PIP_CERT=/" + _AUTHORITIES, str(base), BASE)
        _build(docker, _ROOT, BROKER, PYTHON_IMAGE=BASE)
        pause = directory / "pause"
        pause.mkdir()
        (pause / "Dockerfile").write_text(f'FROM {BASE}\nENTRYPOINT ["sleep", "infinity"]\n')
        _build(docker, pause, PAUSE)
        context = directory / "postgres"
        shutil.copytree(postgres, context)
        shutil.copytree(Path(__file__).parent / "postgres", context, dirs_exist_ok=True)
        _build(docker, context, POSTGRES, BASE=BASE)
        docker("save", f"--output={archive}", BROKER, PAUSE, POSTGRES)
    return archive


def _base(cache: Path) -> Path:
    """Return a root file system like that of a slim Python image, as an archive."""
    archive = cache / "base.tar"
    if archive.exists():
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / "base"
    shutil.rmtree(root, ignore_errors=True)
    _run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", str(root))
    (root / "usr/bin/python").symlink_to("python3")
    # Whom this machine trusts, the build shall trust, too.
    shutil.copy(Path("/") / _AUTHORITIES, root / _AUTHORITIES)
    unfinished = cache / "base.tar.new"
    _run("tar", f"--directory={root}", "--exclude=./var/cache", "-cf", str(unfinished), ".")
    unfinished.rename(archive)
    shutil.rmtree(root)
    return archive


class Docker:
    """The client of an engine.

    Attributes:
        address: Of the engine, as ``DOCKER_HOST`` has it.
    """

    def __init__(self, socket: Path) -> None:
        self.address = f"unix://{socket}"

    def __call__(self, *arguments: str) -> str:
        """Run a command and return what it printed."""
        return _run("/usr/bin/docker", f"--host={self.address}", *arguments)

    def is_ready(self) -> bool:
        """Tell whether the engine answers."""
        try:
            self("version")
        except AssertionError:
            return False
        return True


@contextmanager
def docker_engine(directory: Path) -> Iterator[Docker]:
    """Run a Docker engine that leaves the machine's network as it is, until the context is left.

    Args:
        directory: For its data, which stays there; a short path, because of its sockets.
    """
    docker = Docker(directory / "docker.sock")
    with running(
        Path("/usr/sbin/dockerd"),
        f"--host=unix://{directory / 'docker.sock'}",
        f"--data-root={directory / 'docker'}",
        f"--exec-root={directory / 'docker-run'}",
        f"--pidfile={directory / 'docker.pid'}",
        "--bridge=none",
        "--iptables=false",
        "--ip6tables=false",
        log_file=directory / "dockerd.log",
        is_ready=docker.is_ready,
    ):
        yield docker


def _build(docker: Docker, context: Path, tag: str, **arguments: str) -> None:
    chosen = [f"--build-arg={name}={value}" for name, value in arguments.items()]
    docker("build", "--network=host", f"--tag={tag}", *chosen, str(context))


def _run(*command: str) -> str:
    result = subprocess.run(
        command,
        # The engine's own builder: nothing has to be installed beside it.
        env={**os.environ, "DOCKER_BUILDKIT": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_BUILD_TIMEOUT,
        check=False,
    )
    assert result.returncode == 0, f"{' '.join(command)}:\n{result.stdout[-3000:]}"
    return result.stdout
