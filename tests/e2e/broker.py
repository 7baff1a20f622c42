"""``pgbroker serve`` with TLS at an address that stays, so that it can go away and come back."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trustme

from tests.support.process import (
    PATIENCE,
    BrokerProcess,
    environment,
    free_port,
    running_broker,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.postgres import PostgresServer


@dataclass(slots=True)
class Broker:
    """A broker that is started, stopped and killed by the tests.

    Attributes:
        postgres: The server of its tenants and of its state.
        state_dsn: Its state database.
        ca_bundle: PEM of the authority that signed its certificate.
        environ: Its variables.
        log_file: What it has written, all its lives long.
        process: The one that runs now, or the last one.
    """

    postgres: PostgresServer
    state_dsn: str
    ca_bundle: bytes = field(repr=False)
    environ: dict[str, str] = field(repr=False)
    log_file: Path
    process: BrokerProcess | None = None
    _running: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def url(self) -> str:
        """Return where Service Catalog reaches it."""
        return f"https://{self.environ['PGBROKER_BIND']}"

    @property
    def password(self) -> str:
        """Return what platforms authenticate with."""
        return self.environ["PGBROKER_PASSWORD"]

    @property
    def is_running(self) -> bool:
        """Tell whether it has been started and has not ended since."""
        return self.process is not None and self.process.process.poll() is None

    def log_lines(self) -> list[str]:
        """Return what it has written so far."""
        return self.log_file.read_text("utf-8").splitlines()

    def wait_for_log(self, since: int, **fields: object) -> None:
        """Return when it has written an entry with these fields.

        Args:
            since: Of how many lines nothing is to be known.
            fields: Of the entry.

        Raises:
            AssertionError: It has not within ``PATIENCE``, or it has ended.
        """
        assert self.process is not None
        for _ in range(20 * PATIENCE):
            entries = map(json.loads, self.log_lines()[since:])
            if any(fields.items() <= entry.items() for entry in entries):
                return
            with suppress(subprocess.TimeoutExpired):
                self.process.process.wait(0.05)
                raise AssertionError("the broker has ended")
        raise AssertionError(f"the log has no entry with {fields}")

    def start(self) -> None:
        """Run it; it is ready afterwards."""
        self.process = self._running.enter_context(running_broker(self.environ, self.log_file))

    def stop(self) -> None:
        """End it as an orchestrator does; it may have ended already."""
        self._running.close()

    def kill(self) -> None:
        """End it without giving it a chance to tidy up."""
        assert self.process is not None
        self.process.kill()
        self._running.close()


def configured_broker(
    postgres: PostgresServer, state_dsn: str, directory: Path, **settings: str
) -> Broker:
    """Write the files of a broker that has yet to be started.

    Args:
        postgres: Holds the tenants.
        state_dsn: A migrated state database.
        directory: For its files.
        settings: More ``PGBROKER_*`` variables, without the prefix.
    """
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(directory / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(directory / "tls.crt")
    environ = environment(
        postgres,
        state_dsn,
        directory,
        USERNAME="pgbroker",
        BIND=f"127.0.0.1:{free_port()}",
        TLS_CERT_FILE=str(directory / "tls.crt"),
        TLS_KEY_FILE=str(directory / "tls.key"),
        **settings,
    )
    return Broker(postgres, state_dsn, authority.cert_pem.bytes(), environ, directory / "log")
