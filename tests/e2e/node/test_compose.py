"""``docker-compose.yml`` on a real engine, with the images of the node's tests."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.node.images import BROKER, POSTGRES, docker_engine
from tests.support.process import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.node.images import Docker

_ROOT = Path(__file__).parents[3]
_PROJECT = "pgbroker-test"
_TIMEOUT = 180


@contextmanager
def composing(docker: Docker, directory: Path, port: int) -> Iterator[Callable[..., str]]:
    """Yield a function that runs Compose; in the end everything it has made is taken away."""
    # Debian's Compose is older than names of projects in the file.
    lines = (_ROOT / "docker-compose.yml").read_text("utf-8").splitlines(keepends=True)
    file = directory / "docker-compose.yml"
    file.write_text("".join(line for line in lines if not line.startswith("name:")), "utf-8")
    environ = os.environ | {
        "DOCKER_HOST": docker.address,
        "BROKER_IMAGE": BROKER,
        "POSTGRES_IMAGE": POSTGRES,
        "BROKER_PORT": str(port),
    }

    def compose(*arguments: str) -> str:
        result = subprocess.run(
            [
                *("docker-compose", f"--project-name={_PROJECT}", f"--file={file}"),
                *(f"--project-directory={_ROOT}", *arguments),
            ],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT,
            check=False,
        )
        assert result.returncode == 0, result.stdout
        return result.stdout

    try:
        yield compose
    finally:
        compose("--profile=smoke", "down", "--volumes", "--remove-orphans")


@pytest.fixture
def engine(machine: Path, images: Path) -> Iterator[Docker]:
    """Return an engine with the images."""
    directory = machine / "compose"
    directory.mkdir()
    with docker_engine(directory) as docker:
        docker("load", f"--input={images}")
        yield docker


def test_everything_comes_up_in_order_and_works(engine: Docker, tmp_path: Path) -> None:
    """``up`` from nothing is healthy, twice; a whole life passes; no secret is in any log."""
    port = free_port()
    with composing(engine, tmp_path, port) as compose:
        for _ in range(2):
            compose("up", "--detach", "--no-build")
        life = compose("run", "--rm", "-T", "smoke")
        assert "passed: 24 steps" in life
        # The smoke waits for the broker's health, which the image itself tells.
        ids = compose("ps", "--quiet", "broker", "postgres").split()
        states = [json.loads(engine("inspect", "--format={{json .State}}", id_)) for id_ in ids]
        assert [state["Health"]["Status"] for state in states] == ["healthy", "healthy"]
        assert httpx.get(f"http://127.0.0.1:{port}/readyz").json() == {"status": "ready"}
        password = compose("exec", "-T", "broker", "cat", "/run/pgbroker/password").strip()
        assert len(password) == 48
        assert password not in compose("logs", "--no-color") + life
        user = compose("exec", "-T", "broker", "python", "-c", "import os; print(os.getuid())")
        assert user.strip() == "10001"
    assert engine("volume", "ls", "--quiet") == ""
