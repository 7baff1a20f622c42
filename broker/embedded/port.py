"""Choosing the TCP port."""

from __future__ import annotations

import secrets
import socket

from broker.embedded.configuration import HOST
from broker.embedded.errors import EmbeddedPostgresError

# Below what Linux gives to outgoing connections: one of those could take the port while the server
# is down, and credentials handed out before would lead nowhere.
_PORTS = range(15432, 32768)
_ATTEMPTS = 100


def choose_port(remembered: int | None) -> int:
    """Return the remembered port if it is free, else a free one.

    Raises:
        EmbeddedPostgresError: There is hardly a free one left.
    """
    if remembered is not None and _is_free(remembered):
        return remembered
    for _ in range(_ATTEMPTS):
        if _is_free(port := _PORTS.start + secrets.randbelow(len(_PORTS))):
            return port
    raise EmbeddedPostgresError(
        f"No free TCP port found on {HOST} between {_PORTS.start} and {_PORTS.stop - 1} in "
        f"{_ATTEMPTS} tries. End some servers, then start again."
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the server does; otherwise connections in TIME_WAIT would make the port look taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
