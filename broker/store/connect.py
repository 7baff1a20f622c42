"""Connections to the state database: what each of them is told, and SQLAlchemy's for migrations."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import ConnectionPoolEntry

PATIENCE = timedelta(seconds=5)
"""How long to wait for a connection, for a free one, and for a lock."""

_SETTINGS = {
    # All names are qualified; nothing that others put into `public` is ever called.
    "search_path": "pg_catalog, pg_temp",
    "client_encoding": "UTF8",
    "TimeZone": "UTC",
    "statement_timeout": "10s",
    # Nearly all statements find their rows by a key, whatever its value. Planning anew, as
    # PostgreSQL does the first five times, takes longer than running them.
    "plan_cache_mode": "force_generic_plan",
    # No transaction waits for anything but the state itself, or for a moment for a server
    # (``service/retag.py``): who is silent within one stands still, and others wait for its rows.
    "idle_in_transaction_session_timeout": "10s",
}
CONFIGURE = """
    SELECT pg_catalog.set_config(key, value, false) FROM pg_catalog.json_each_text(%s)
"""
"""Makes the ``configuration``, as its parameter, that of a session."""


def configuration(settings: Mapping[str, str], *, patience: timedelta = PATIENCE) -> str:
    """Return the PostgreSQL settings of a session, as a JSON document.

    Args:
        settings: Further ones, over the ones for serving.
        patience: How long to wait for a lock.
    """
    lock_timeout = {"lock_timeout": f"{patience.total_seconds() * 1000:.0f}ms"}
    return json.dumps({**_SETTINGS, **lock_timeout, **settings})


def connection_options(patience: timedelta = PATIENCE) -> dict[str, Any]:
    """Return what libpq is told beside the connection string.

    Args:
        patience: How long to wait for a connection.
    """
    return {
        "application_name": "pgbroker",
        "connect_timeout": max(1, round(patience.total_seconds())),
        "prepare_threshold": 1,
        # A server that vanished without a word: give up after ten seconds, not after two hours.
        "tcp_user_timeout": 10_000,
        "keepalives_idle": 30,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }


def create_engine(dsn: str, **settings: str) -> AsyncEngine:
    """Create an engine that opens a connection for each use; none is made yet.

    Args:
        dsn: A libpq connection string or URI (PostgreSQL manual, "Connection Strings").
        settings: PostgreSQL settings of every session, over the ones for serving.
    """
    engine = create_async_engine(
        "postgresql+psycopg://",
        connect_args=connection_options(),
        # Values must not reach a log line through an exception's text.
        hide_parameters=True,
        poolclass=NullPool,
        use_native_hstore=False,
    )

    def use_dsn(
        dialect: Dialect,  # noqa: ARG001 - SQLAlchemy passes it
        entry: ConnectionPoolEntry,  # noqa: ARG001 - SQLAlchemy passes it
        args: list[Any],
        options: dict[str, Any],  # noqa: ARG001 - SQLAlchemy passes it
    ) -> None:
        # libpq reads the DSN itself: SQLAlchemy's URLs know neither key=value strings nor all
        # of libpq's parameters.
        args[:] = [dsn]

    def configure(
        connection: DBAPIConnection,
        entry: ConnectionPoolEntry,  # noqa: ARG001 - SQLAlchemy passes it
    ) -> None:
        cursor = connection.cursor()
        cursor.execute(CONFIGURE, (configuration(settings),))
        cursor.close()
        connection.commit()

    event.listen(engine.sync_engine, "do_connect", use_dsn)
    # First, so that SQLAlchemy gets to know the session as it is going to be.
    event.listen(engine.sync_engine, "connect", configure, insert=True)
    return engine
