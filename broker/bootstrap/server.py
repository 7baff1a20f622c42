"""Serving an application with uvicorn, until a signal says otherwise."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastapi import FastAPI

GRACE_SECONDS = 25
"""How long open requests get after a signal to stop."""

_BACKLOG = 1024


class AddressUnavailable(Exception):
    """The broker cannot listen where it was told to."""


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket.

    Raises:
        AddressUnavailable: With what to do about it.
    """
    try:
        family = (
            socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET  # noqa: PLR2004
        )
    except ValueError:
        family = socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as exc:
        raise AddressUnavailable(
            f"Cannot listen on {host}, port {port}: {exc.strerror}. Choose another address or port."
        ) from exc


async def serve(
    app: FastAPI,
    listener: socket.socket,
    *,
    certificate: Path | None = None,
    private_key: Path | None = None,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM; open requests are finished first.

    Args:
        app: The application.
        listener: A listening socket; closed on return.
        certificate: PEM chain; TLS is on when it is given.
        private_key: PEM.
        started: Called once requests are answered.
    """
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config, started)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    with listener:
        await server.serve(sockets=[listener])


class _Server(uvicorn.Server):
    """uvicorn's server, with the signals left to us.

    Its own handling raises the signal again after it has stopped, which would cut short what still
    has to be put away.
    """

    def __init__(self, config: uvicorn.Config, started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = started

    def stop(self) -> None:
        """Stop gracefully; asked twice, at once."""
        self.force_exit = self.should_exit
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            self._on_started()
