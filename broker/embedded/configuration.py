"""The files that configure the cluster: ``postgresql.conf`` and ``pg_hba.conf``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SUPERUSER = "postgres"

RESERVED_CONNECTIONS = 16
"""The first major version that can set connections aside for a role that is no superuser."""

HOST = "127.0.0.1"
"""The only address the server listens on."""


def server_settings(
    *, version: int, port: int, socket_directory: Path, tls: bool, extra: Mapping[str, str]
) -> dict[str, str]:
    """Return what ``postgresql.conf`` says.

    Args:
        version: Major version.
        port: TCP port on loopback.
        socket_directory: Where the superuser's Unix-domain socket is.
        tls: The build has TLS, and ``server.crt`` and ``server.key`` are beside the cluster.
        extra: Settings that override ours.
    """
    settings = {
        "listen_addresses": HOST,
        "port": str(port),
        "unix_socket_directories": str(socket_directory),
        "unix_socket_permissions": "0700",
        "password_encryption": "scram-sha-256",
        # A prepared transaction survives its session and blocks even DROP DATABASE ... FORCE.
        "max_prepared_transactions": "0",
        # Connections that never authenticate count against max_connections until then.
        "authentication_timeout": "10s",
        "max_connections": "200",
        # Built in; every other zone, UTC too, needs files that a slim container may lack.
        "timezone": "GMT",
        "log_timezone": "GMT",
        "log_line_prefix": "%m [%p] %q%u@%d ",
    }
    if version >= RESERVED_CONNECTIONS:
        # For the broker: tenants must not be able to take every slot.
        settings["reserved_connections"] = "5"
    if tls:
        settings |= {
            "ssl": "on",
            "ssl_cert_file": "../server.crt",
            "ssl_key_file": "../server.key",
            "ssl_min_protocol_version": "TLSv1.2",
        }
    return {**settings, **extra}


def render_settings(settings: Mapping[str, str]) -> str:
    """Write settings in the syntax of ``postgresql.conf``.

    See the PostgreSQL manual, "Parameter Interaction via the Configuration File": a quote inside a
    quoted value is doubled, and a backslash would begin an escape.
    """
    lines = ["# Written by pgbroker at every start; ALTER SYSTEM is the way to change a setting."]
    for name, value in settings.items():
        quoted = value.replace("\\", "\\\\").replace("'", "''")
        lines.append(f"{name} = '{quoted}'")
    return "\n".join(lines) + "\n"


def render_hba(broker_role: str) -> str:
    """Write ``pg_hba.conf``: who may connect from where, first match wins.

    The superuser comes in through the Unix-domain socket only, the broker over TCP to any database,
    and everybody else to databases named like a role that they are a member of, which every login
    is of its tenant's. A mistaken ``GRANT CONNECT ... TO PUBLIC`` opens nothing to anybody else.

    See the PostgreSQL manual, "The pg_hba.conf File".
    """
    return (
        "# Written by pgbroker at every start.\n"
        f"local  all       {SUPERUSER}  scram-sha-256\n"
        "local  all       all  reject\n"
        f"host   all       {SUPERUSER}  all  reject\n"
        f'host   all       "{broker_role}"  samehost  scram-sha-256\n'
        "host   samerole  all  samehost  scram-sha-256\n"
        "host   all       all  all  reject\n"
    )
