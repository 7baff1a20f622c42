"""``pgbroker dev``: a broker with a PostgreSQL of its own, and nothing to configure.

It writes the configuration that an operator would write, and starts the broker from it by the same
code as in production, under the same unprivileged role.
"""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from broker.bootstrap.assembly import assemble
from broker.bootstrap.private_file import write_private
from broker.bootstrap.server import listen, serve
from broker.config import load_settings
from broker.embedded import EmbeddedPostgres
from broker.postgres.prepare import prepare
from broker.store.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from broker.domain.credentials import Secret

ROLE = "pgbroker"
DEFAULT_USERNAME = "admin"

_KEY_BYTES = 32
_PASSWORD_BYTES = 24
_STATE_DSN = "PGBROKER_STATE_DSN"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a started broker is and how to get in.

    Attributes:
        url: Without credentials.
        username: For Basic authentication.
        password: Likewise.
        postgres_version: Major version of the embedded server.
    """

    url: str
    username: str
    password: Secret
    postgres_version: int


async def run(
    *,
    data_directory: Path,
    postgres_bin: Path | None,
    host: str,
    port: int,
    environ: Mapping[str, str],
    started: Callable[[Address], None],
) -> None:
    """Run until a signal says otherwise; started again, it finds its data.

    Args:
        data_directory: Holds the databases, the state and the generated secrets.
        postgres_bin: ``bin`` directory of another PostgreSQL than the embedded one.
        host: Address to listen on.
        port: TCP port to listen on; 0 lets the operating system choose.
        environ: ``PGBROKER_*`` variables that do not concern servers or state count here, too.
        started: Called once the broker answers.

    Raises:
        AddressUnavailable: The port is taken.
        EmbeddedPostgresError: PostgreSQL cannot be run.
        ConfigurationError: A variable or the catalog is wrong.
    """
    with listen(host, port) as listener:
        async with EmbeddedPostgres(
            data_directory, postgres_bin=postgres_bin, broker_role=ROLE
        ) as postgres:
            generated = _generated_secrets(data_directory)
            await prepare(
                postgres.superuser_dsn(),
                role=ROLE,
                password=generated["role_password"],
                maintenance_database=ROLE,
            )
            settings = load_settings(_environment(postgres, generated, environ))
            await migrate(settings.state_dsn.reveal())
            assembly = assemble(settings)
            await assembly.readiness.check()
            platform = settings.platforms[0]
            shown = f"[{host}]" if ":" in host else host
            address = Address(
                url=f"http://{shown}:{listener.getsockname()[1]}",
                username=platform.username,
                password=platform.passwords[0],
                postgres_version=postgres.version,
            )
            await serve(assembly.app, listener, started=lambda: started(address))


def _environment(
    postgres: EmbeddedPostgres, generated: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    """Return what ``pgbroker serve`` would be started with, and write the servers file for it."""
    password = quote(generated["role_password"], safe="")
    dsn = f"postgresql://{ROLE}:{password}@{postgres.host}:{postgres.port}/{ROLE}"
    server = {
        "name": "embedded",
        "admin_dsn": dsn,
        "host": postgres.host,
        "port": postgres.port,
        "sslmode": "prefer" if postgres.ca_certificate is None else "require",
    }
    if postgres.ca_certificate is not None:
        server["ca_certificate"] = postgres.ca_certificate
    servers_file = postgres.data_directory / "servers.yaml"
    write_private(servers_file, json.dumps({"servers": [server]}, indent=2))
    ours = {
        _STATE_DSN: dsn,
        "PGBROKER_SERVERS_FILE": str(servers_file),
        "PGBROKER_ENCRYPTION_KEYS": generated["encryption_key"],
    }
    defaults = {"PGBROKER_LOG_FORMAT": "console"}
    if not any(name.startswith("PGBROKER_PLATFORMS_FILE") for name in environ):
        defaults["PGBROKER_USERNAME"] = DEFAULT_USERNAME
        if "PGBROKER_PASSWORD_FILE" not in environ:
            defaults["PGBROKER_PASSWORD"] = generated["password"]
    return {**defaults, **environ, **ours}


def _generated_secrets(data_directory: Path) -> dict[str, str]:
    """Return the secrets kept in the data directory, making them at the first start."""
    file = data_directory / "secrets.json"
    if not file.exists():
        key = base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode("ascii")
        generated = {
            "password": secrets.token_urlsafe(_PASSWORD_BYTES),
            "role_password": secrets.token_urlsafe(_PASSWORD_BYTES),
            "encryption_key": f"dev:{key}",
        }
        write_private(file, json.dumps(generated, indent=2))
    kept: dict[str, str] = json.loads(file.read_text("utf-8"))
    return kept
