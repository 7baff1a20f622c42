"""The settings of one broker process, read once at its start and never changed.

Belongs here: the frozen records. How they are read is the business of the modules beside this
one; ``docs/configuration.md`` is the operator's view.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from broker.domain.catalog import Catalog
    from broker.domain.credentials import Secret

LogFormat = Literal["json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]

DEFAULT_MAX_BODY_BYTES = 1024 * 1024
DEFAULT_SYNC_WINDOW = timedelta(seconds=50)
"""Platforms give up on a request after 60 seconds; the answer has to be on its way by then."""
DEFAULT_LEASE = timedelta(seconds=30)
DEFAULT_RETRY_FOR = timedelta(minutes=15)
DEFAULT_KEEP_OPERATIONS = timedelta(days=7)
DEFAULT_QUARANTINE_AFTER = timedelta(days=1)
DEFAULT_KEEP_EXPIRED = timedelta(days=1)
DEFAULT_SERVER_CONNECTIONS = 16
"""Enough for CREATE and DROP DATABASE to share their checkpoints, few beside the tenants'."""


@dataclass(frozen=True, slots=True)
class PlatformSettings:
    """A platform that may call the broker.

    See OSB API 2.17, "Platform to Service Broker Authentication".

    Attributes:
        name: Keeps its instances apart from other platforms'; never changes.
        username: For Basic authentication; no colon in it.
        passwords: One, or two while the password is being rotated: each is accepted.
    """

    name: str
    username: str
    passwords: tuple[Secret, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """A PostgreSQL server that holds tenant databases.

    Attributes:
        name: Recorded with every instance on it; never changes.
        pool: What plans choose servers by.
        admin_dsn: How the broker connects: a libpq connection string.
        host: The server as tenants reach it.
        port: Likewise.
        sslmode: libpq's ``sslmode``, told to tenants.
        ca_certificate: PEM of the authority that signed the server's certificate, for tenants.
        labels: What plans may require of it.
        max_databases: How many databases it may hold; ``None`` is no limit.
        max_connections: How many connections may be promised to its databases, all together;
            ``None`` is no limit.
        max_storage: How many bytes may be promised to or used by them; ``None`` is no limit.
    """

    name: str
    admin_dsn: Secret
    host: str
    port: int = 5432
    pool: str = "default"
    sslmode: str = "prefer"
    ca_certificate: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    max_databases: int | None = None
    max_connections: int | None = None
    max_storage: int | None = None


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A key for the secrets in the state database.

    Attributes:
        id: Stored beside every ciphertext, so that the key is found again.
        key: 32 bytes, for AES-256-GCM; not in the ``repr``.
    """

    id: str
    key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a broker process is told from the outside.

    Attributes:
        state_dsn: The state database: a libpq connection string.
        servers: At least one.
        platforms: At least one.
        encryption_keys: At least one; the first encrypts, all of them decrypt.
        catalog: What the broker offers.
        catalog_modified: When the catalog file was last modified (UTC).
        bind_host: Address to listen on.
        bind_port: TCP port to listen on; 0 lets the operating system choose.
        tls_certificate_file: PEM chain; TLS is on when it is set.
        tls_private_key_file: PEM; set when the certificate is.
        max_body_bytes: The largest request body.
        sync_window: How long a request waits for its operation before it answers 202.
        lease: How long an operation stays with a process that has gone silent.
        retry_for: How long an operation that goes on after the answer is repeated while its server
            is down, full or locked.
        keep_operations: How long a finished operation can be polled.
        quarantine_after: How long a database or login must have been unknown before it is closed.
        keep_expired: How long a binding whose credentials have ended is kept.
        server_connections: The most connections at a time to each server.
        log_format: One JSON object a line, or lines for a terminal.
        log_level: The least severe level that is logged.
    """

    state_dsn: Secret
    servers: tuple[ServerSettings, ...]
    platforms: tuple[PlatformSettings, ...]
    encryption_keys: tuple[EncryptionKey, ...]
    catalog: Catalog
    catalog_modified: datetime
    bind_host: str = "127.0.0.1"
    bind_port: int = 8080
    tls_certificate_file: Path | None = None
    tls_private_key_file: Path | None = None
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES
    sync_window: timedelta = DEFAULT_SYNC_WINDOW
    lease: timedelta = DEFAULT_LEASE
    retry_for: timedelta = DEFAULT_RETRY_FOR
    keep_operations: timedelta = DEFAULT_KEEP_OPERATIONS
    quarantine_after: timedelta = DEFAULT_QUARANTINE_AFTER
    keep_expired: timedelta = DEFAULT_KEEP_EXPIRED
    server_connections: int = DEFAULT_SERVER_CONNECTIONS
    log_format: LogFormat = "json"
    log_level: LogLevel = "info"
