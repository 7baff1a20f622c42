"""From the environment of a process to its settings.

Belongs here: how the variables go together. What a single value must look like is said in
``values.py``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from broker.config.catalog import parse_catalog_file
from broker.config.connections import dsn_problem, key_pair_problem
from broker.config.files import read_text
from broker.config.platforms import credential_problems, load_platforms
from broker.config.problems import ConfigurationError, Problem, attempt
from broker.config.servers import load_servers, no_server_for
from broker.config.settings import PlatformSettings, Settings
from broker.config.values import choice, encryption_keys, endpoint, label, seconds, whole_number
from broker.config.variables import Environment
from broker.domain.catalog import Catalog
from broker.domain.credentials import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.config.settings import EncryptionKey, LogFormat, LogLevel, ServerSettings

DEFAULT_CATALOG = Path(__file__).with_name("catalog.yaml")
"""The catalog that comes with pgbroker."""

_LOG_FORMATS: tuple[LogFormat, ...] = ("json", "console")
_LOG_LEVELS: tuple[LogLevel, ...] = ("debug", "info", "warning", "error")


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings of a process.

    Args:
        environ: Its environment; ``docs/configuration.md`` lists the variables.

    Raises:
        ConfigurationError: Something is missing or wrong; it lists everything that is, each with
            the variable, or the file and line.
    """
    env = Environment(environ)
    env.check_names()
    host, port = env.value("BIND", endpoint)
    certificate, key = _tls(env)
    servers = _servers(env)
    catalog, modified = _catalog(env, servers)
    settings = Settings(
        state_dsn=_state_dsn(env),
        servers=servers,
        platforms=_platforms(env),
        encryption_keys=_encryption_keys(env),
        catalog=catalog,
        catalog_modified=modified,
        bind_host=host,
        bind_port=port,
        tls_certificate_file=certificate,
        tls_private_key_file=key,
        max_body_bytes=env.value("MAX_BODY_BYTES", whole_number(1024, 2**30)),
        sync_window=env.value("SYNC_WINDOW_SECONDS", seconds(0, 59)),
        lease=env.value("LEASE_SECONDS", seconds(1, 3600)),
        retry_for=env.value("RETRY_SECONDS", seconds(0, 86_400)),
        keep_operations=env.value("KEEP_OPERATIONS_SECONDS", seconds(60, 31_536_000)),
        quarantine_after=env.value("QUARANTINE_AFTER_SECONDS", seconds(0, 31_536_000)),
        keep_expired=env.value("KEEP_EXPIRED_SECONDS", seconds(0, 31_536_000)),
        server_connections=env.value("SERVER_CONNECTIONS", whole_number(1, 1000)),
        log_format=env.value("LOG_FORMAT", choice(_LOG_FORMATS)),
        log_level=env.value("LOG_LEVEL", choice(_LOG_LEVELS)),
    )
    if env.problems:
        raise ConfigurationError(env.problems)
    return settings


def _state_dsn(env: Environment) -> Secret:
    dsn = env.required("STATE_DSN")
    wrong = None if dsn is None else dsn_problem(dsn)
    if wrong is not None:
        env.refuse("STATE_DSN", wrong)
    return Secret(dsn or "")


def _servers(env: Environment) -> tuple[ServerSettings, ...]:
    name = env.required("SERVERS_FILE")
    if name is None:
        return ()
    path, where = Path(name), "PGBROKER_SERVERS_FILE"
    return attempt(env.problems, lambda: load_servers(path, where=where)) or ()


def _catalog(env: Environment, servers: tuple[ServerSettings, ...]) -> tuple[Catalog, datetime]:
    path = Path(env.text("CATALOG_FILE") or DEFAULT_CATALOG)
    where = "PGBROKER_CATALOG_FILE"
    file = attempt(
        env.problems, lambda: parse_catalog_file(read_text(path, where=where), str(path))
    )
    if file is None:
        return Catalog(()), datetime.min.replace(tzinfo=UTC)
    for plan in (plan for offering in file.catalog.offerings for plan in offering.plans):
        # Without any server there is a problem already, and this would only repeat it.
        message = no_server_for(plan, servers) if servers else None
        if message is not None:
            env.problems.append(Problem(file.plan_lines[plan.id], message))
    return file.catalog, datetime.fromtimestamp(int(path.stat().st_mtime), UTC)


def _platforms(env: Environment) -> tuple[PlatformSettings, ...]:
    file = env.text("PLATFORMS_FILE")
    if file is not None:
        for name in ("PLATFORM_NAME", "USERNAME", "PASSWORD", "PASSWORD_NEXT"):
            if env.given(name):
                env.refuse(name, "has no effect beside PGBROKER_PLATFORMS_FILE; keep one of them.")
        path, where = Path(file), "PGBROKER_PLATFORMS_FILE"
        return attempt(env.problems, lambda: load_platforms(path, where=where)) or ()
    name = env.value("PLATFORM_NAME", label)
    username, password = env.required("USERNAME"), env.required("PASSWORD")
    next_password = env.text("PASSWORD_NEXT")
    for key, message in credential_problems(username or "", password, next_password):
        env.refuse("PASSWORD_NEXT" if key == "next_password" else key.upper(), message)
    passwords = tuple(Secret(text) for text in (password, next_password) if text is not None)
    return (PlatformSettings(name, username or "", passwords),)


def _encryption_keys(env: Environment) -> tuple[EncryptionKey, ...]:
    text = env.required("ENCRYPTION_KEYS")
    try:
        return () if text is None else encryption_keys(text)
    except ValueError as exc:
        env.refuse("ENCRYPTION_KEYS", str(exc))
        return ()


def _tls(env: Environment) -> tuple[Path | None, Path | None]:
    certificate, key = env.text("TLS_CERT_FILE"), env.text("TLS_KEY_FILE")
    if certificate is not None and key is not None:
        wrong = key_pair_problem(Path(certificate), Path(key))
        if wrong is not None:
            env.refuse("TLS_CERT_FILE", wrong)
        return Path(certificate), Path(key)
    if certificate is not None or key is not None:
        missing = "TLS_KEY_FILE" if key is None else "TLS_CERT_FILE"
        env.refuse(missing, "is not set: TLS needs both the certificate and its private key.")
    return None, None
