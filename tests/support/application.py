"""The whole broker, as ``pgbroker serve`` runs it, in a thread of the test process.

Belongs here: its configuration for tests, starting and stopping it, and what it left behind.
"""

from __future__ import annotations

import base64
import json
import secrets
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, LiteralString, Self

import psycopg
import uvloop
from psycopg import sql

from broker.bootstrap.assembly import assemble
from broker.bootstrap.server import Server, listen
from broker.config import load_settings
from broker.store import EncryptedTags, KeyRing
from tests.support.catalog import CATALOG

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from broker.config import Settings
    from tests.support.postgres import PostgresServer

_PATIENCE = 30

KUBERNETES = ("kate", "kubernetes-password-1")
KUBERNETES_NEXT = ("kate", "kubernetes-password-2")
CLOUDFOUNDRY = ("carl", "cloudfoundry-password: ü")

_PLATFORMS = {
    "platforms": [
        {
            "name": "kubernetes",
            "username": KUBERNETES[0],
            "password": KUBERNETES[1],
            "next_password": KUBERNETES_NEXT[1],
        },
        {"name": "cloudfoundry", "username": CLOUDFOUNDRY[0], "password": CLOUDFOUNDRY[1]},
    ]
}


@dataclass(frozen=True, slots=True)
class Application:
    """A running broker.

    Attributes:
        url: Where it listens.
        port: Likewise.
        settings: What it was started with.
        keys: Its encryption keys, to look into its state with.
    """

    url: str
    port: int
    settings: Settings
    keys: KeyRing = field(repr=False)


@dataclass(frozen=True, slots=True)
class Footprint:
    """Everything a broker keeps; two are equal when nothing has changed in between.

    Attributes:
        rows: All rows of its state, by table.
        databases: Databases with its tags.
        roles: Roles with its tags.
    """

    rows: Mapping[str, list[str]]
    databases: frozenset[str]
    roles: frozenset[str]

    def things(self) -> Footprint:
        """Return it without the history: what was asked for and refused is remembered."""
        return replace(
            self, rows={table: rows for table, rows in self.rows.items() if table != "operations"}
        )


def settings_for(
    postgres: PostgresServer, state_dsn: str, directory: Path, **options: Any
) -> Settings:
    """Return settings as an operator would give them: the files are written and read.

    Args:
        postgres: Holds the tenants of both pools.
        state_dsn: A migrated state database.
        directory: For the files.
        options: Those of ``variables_for``.
    """
    return load_settings(variables_for(postgres, state_dsn, directory, **options))


def variables_for(
    postgres: PostgresServer,
    state_dsn: str,
    directory: Path,
    *,
    catalog: str = CATALOG,
    key: str | None = None,
    other_dsn: str | None = None,
    **environ: str,
) -> dict[str, str]:
    """Return the ``PGBROKER_*`` variables of a broker, whose files are written.

    Args:
        postgres: Holds the tenants of both pools.
        state_dsn: A migrated state database.
        directory: For the files.
        catalog: The catalog file's text.
        key: The encryption key; a new one if there is none yet.
        other_dsn: Another server for the pool ``other``.
        environ: More ``PGBROKER_*`` variables, without the prefix.
    """
    place = {
        "admin_dsn": postgres.broker_dsn(),
        "host": postgres.host,
        "port": postgres.port,
        "sslmode": "prefer" if postgres.ca_certificate is None else "require",
    }
    if postgres.ca_certificate is not None:
        place["ca_certificate"] = postgres.ca_certificate
    other = {**place, "admin_dsn": other_dsn or place["admin_dsn"]}
    servers = [{"name": "alpha", **place}, {"name": "beta", "pool": "other", **other}]
    files = {
        "servers.yaml": json.dumps({"servers": servers}),
        "platforms.yaml": json.dumps(_PLATFORMS),
        "catalog.yaml": catalog,
    }
    for name, text in files.items():
        (directory / name).write_text(text, "utf-8")
    variables = {
        "STATE_DSN": state_dsn,
        "SERVERS_FILE": str(directory / "servers.yaml"),
        "PLATFORMS_FILE": str(directory / "platforms.yaml"),
        "CATALOG_FILE": str(directory / "catalog.yaml"),
        "ENCRYPTION_KEYS": key or new_key(),
        **environ,
    }
    return {f"PGBROKER_{name}": value for name, value in variables.items()}


def new_key(key_id: str = "test") -> str:
    """Return an encryption key as it is configured."""
    return f"{key_id}:{base64.b64encode(secrets.token_bytes(32)).decode()}"


@contextmanager
def running_application(settings: Settings) -> Iterator[Application]:
    """Run a broker on a free port until the context is left."""
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        started = threading.Event()
        server = Server(assemble(settings).app, started=started.set)
        thread = threading.Thread(
            target=lambda: uvloop.run(server.serve(sockets=[listener])), daemon=True
        )
        thread.start()
        assert started.wait(_PATIENCE), "the broker did not start"
        keys = KeyRing([(key.id, key.key) for key in settings.encryption_keys])
        try:
            yield Application(f"http://127.0.0.1:{port}", port, settings, keys)
        finally:
            server.stop()
            thread.join(_PATIENCE)
            assert not thread.is_alive(), "the broker did not stop"


@contextmanager
def cloned_database(postgres: PostgresServer, template: str) -> Iterator[str]:
    """Clone a database; yield a libpq URI of it as the broker's role, and drop it afterwards.

    It is never open to PUBLIC: other tests look for databases that are.
    """
    name = f"state_{secrets.token_hex(6)}"
    _execute(postgres, "CREATE DATABASE {} TEMPLATE {} ALLOW_CONNECTIONS false", name, template)
    _execute(postgres, "REVOKE ALL ON DATABASE {} FROM PUBLIC", name)
    _execute(postgres, "ALTER DATABASE {} ALLOW_CONNECTIONS true", name)
    yield postgres.broker_dsn(name)
    _execute(postgres, "DROP DATABASE {} WITH (FORCE)", name)


class Observer:
    """Looks at everything a broker keeps, past the broker.

    Other brokers of the test run use the same server; the tags tell whose what is.

    Args:
        application: The broker.
        postgres: The server of its tenants.
    """

    def __init__(self, application: Application, postgres: PostgresServer) -> None:
        self._tags = EncryptedTags(application.keys)
        self._state_dsn = application.settings.state_dsn.reveal()
        self._server = psycopg.connect(postgres.superuser_dsn(), autocommit=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()

    def look(self) -> Footprint:
        """Return what is there now."""
        return Footprint(
            rows=state_rows(self._state_dsn),
            databases=self._ours(
                "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database"
            ),
            roles=self._ours("SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles"),
        )

    def _ours(self, query: LiteralString) -> frozenset[str]:
        found = self._server.execute(query).fetchall()
        return frozenset(name for name, comment in found if comment and self._tags.open(comment))


def state_rows(dsn: str) -> dict[str, list[str]]:
    """Return all rows of all state tables as JSON, by table, but what the periodic work changes.

    That measures, compares, and lets a database that has been found to fit be written to again.
    """
    with psycopg.connect(dsn, autocommit=True) as state:
        tables = state.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'pgbroker' "
            "AND tablename NOT IN ('storage_use', 'server_use', 'reconciled', 'drift') ORDER BY 1"
        ).fetchall()
        return {
            table: [
                row.replace('"storage": "releasing"', '"storage": "within"')
                for (row,) in state.execute(
                    sql.SQL("SELECT to_jsonb(t)::text FROM pgbroker.{} t ORDER BY 1").format(
                        sql.Identifier(table)
                    )
                )
            ]
            for (table,) in tables
        }


def _execute(postgres: PostgresServer, statement: LiteralString, *names: str) -> None:
    command = sql.SQL(statement).format(*map(sql.Identifier, names))
    with psycopg.connect(postgres.broker_dsn(), autocommit=True) as connection:
        connection.execute(command)
