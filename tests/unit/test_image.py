"""The image's health check, as it stands in the Dockerfile."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trustme

if TYPE_CHECKING:
    from collections.abc import Iterator

_DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"

NOWHERE = "http://127.0.0.1:9"


def health_check() -> list[str]:
    """Return the arguments of Python, with its own in front of them."""
    _, _, command = _DOCKERFILE.read_text("utf-8").partition("HEALTHCHECK")
    command = command[command.index("[") : command.index("]\n") + 1]
    _, *arguments = json.loads(command.replace("\\\n", ""))
    return [sys.executable, *arguments]


@contextmanager
def serving(status: int, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Answer every request with one status; yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_health_check_asks_the_container_itself(
    scheme: str, status: int, *, healthy: bool
) -> None:
    """With TLS and without, whatever proxy is set; what is not well is not healthy."""
    environ = {"http_proxy": NOWHERE, "https_proxy": NOWHERE, "HTTPS_PROXY": NOWHERE}
    tls = None
    if scheme == "https":
        tls = _server_context()
        environ["PGBROKER_TLS_CERT_FILE"] = "/somewhere/tls.crt"
    with serving(status, tls) as address:
        checked = subprocess.run(
            health_check(),
            env=environ | {"PGBROKER_BIND": address},
            capture_output=True,
            timeout=20,
            check=False,
        )
    assert (checked.returncode == 0) is healthy, checked.stderr.decode()


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("somewhere.else").configure_cert(context)
    return context
