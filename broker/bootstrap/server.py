"""Serving an application with uvicorn, until a signal says otherwise."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import uvicorn

from broker.bootstrap.http_protocol import BoundedProtocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fastapi import FastAPI

GRACE_SECONDS = 15
"""How long open requests get after a signal to stop.

The worker's jobs and the operations that go on after their request get ten seconds each afterwards:
whoever kills the process has to wait for 35 seconds.
"""

_BACKLOG = 1024


class AddressUnavailable(Exception):
    """The broker cannot listen where it was told to."""


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket.

    Raises:
        AddressUnavailable: With what to do about it.
    """
    try:
        is_ipv6 = isinstance(ipaddress.ip_address(host), ipaddress.IPv6Address)
        family = socket.AF_INET6 if is_ipv6 else socket.AF_INET
    except ValueError:
        family = socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as exc:
        raise AddressUnavailable(
            f"Cannot listen on {host}, port {port}: {os.strerror(exc.errno or 0)}. Choose another "
            "one: `--port` of `pgbroker dev`, or PGBROKER_BIND of `pgbroker serve`."
        ) from exc
    # Connections inherit it. asyncio sets it only on sockets that name their protocol, which these
    # do not; without it, a response in two parts waits for the client's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


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
    server = Server(app, certificate=certificate, private_key=private_key, started=started)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.stop)
    with listener:
        await server.serve(sockets=[listener])


class Server(uvicorn.Server):
    """uvicorn's server, with the signals left to us.

    Its own handling raises the signal again after it has stopped, which would cut short what still
    has to be put away.

    Args:
        app: The application.
        certificate: PEM chain; TLS is on when it is given.
        private_key: PEM.
        started: Called once requests are answered.
    """

    def __init__(
        self,
        app: FastAPI,
        *,
        certificate: Path | None = None,
        private_key: Path | None = None,
        started: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=BoundedProtocol,
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                ssl_certfile=certificate,
                ssl_keyfile=private_key,
                timeout_graceful_shutdown=GRACE_SECONDS,
            )
        )
        self._on_started = started

    def stop(self) -> None:
        """Stop gracefully; asked twice, without waiting for open requests."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in, see requests off, and put everything away."""
        await super().shutdown(sockets=sockets)
        if self.force_exit:
            # It would leave what is open to the garbage collector; operations go on elsewhere.
            for request in self.server_state.tasks:
                request.cancel()
            await self.lifespan.shutdown()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell who waits for it."""
        await super().startup(sockets=sockets)
        if self.started:
            self._on_started()
