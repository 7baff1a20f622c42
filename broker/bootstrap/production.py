"""``pgbroker serve``: a broker from its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from broker import __version__
from broker.bootstrap.assembly import assemble
from broker.bootstrap.server import listen, serve
from broker.domain.errors import StateUnavailable

if TYPE_CHECKING:
    from broker.config import Settings

log = structlog.get_logger()


async def run(settings: Settings) -> None:
    """Serve until a signal says otherwise.

    A state database or server that cannot be reached does not keep the broker from starting:
    ``/readyz`` says so, and requests are answered with 503 until it is back.

    Raises:
        AddressUnavailable: The port is taken.
        PermanentFailure: The state holds secrets of an encryption key that is missing or another.
    """
    with listen(settings.bind_host, settings.bind_port) as listener:
        assembly = assemble(settings)
        try:
            await assembly.readiness.check()
        except StateUnavailable as exc:
            log.warning(
                "started without its state database",
                reason=exc.description,
                cause=exc.cause,
            )
        await serve(
            assembly.app,
            listener,
            certificate=settings.tls_certificate_file,
            private_key=settings.tls_private_key_file,
            started=lambda: log.info(
                "listening",
                address=settings.bind_host,
                port=listener.getsockname()[1],
                version=__version__,
                servers=[server.name for server in settings.servers],
                platforms=[platform.name for platform in settings.platforms],
            ),
        )
    log.info("stopped")
