"""What PostgreSQL's errors mean to the caller of the engine.

Belongs here: SQLSTATE -> domain error. Never by message text: it is translated into the server's
language and changes between versions. The server's own words stay with the exception's cause, for
the log; they may quote the tenant's data.

See the PostgreSQL manual, appendix "PostgreSQL Error Codes".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import errors

from broker.domain.errors import PermanentFailure, ServerUnavailable, TemporaryFailure

if TYPE_CHECKING:
    from broker.domain.errors import BrokerError

REPEATABLE = (
    errors.InternalError_,  # "tuple concurrently updated" has no code of its own
    errors.SerializationFailure,
    errors.DeadlockDetected,
    errors.ObjectInUse,
)
"""Collisions that are over when the statement is repeated."""

_BUSY = (
    *REPEATABLE,
    errors.LockNotAvailable,
    errors.QueryCanceled,
    errors.DiskFull,
    errors.OutOfMemory,
    errors.InsufficientResources,
)

_AWAY = (errors.CannotConnectNow, errors.TooManyConnections)

_ENDED = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.IdleSessionTimeout,
    errors.IdleInTransactionSessionTimeout,
)


def is_busy(exc: psycopg.Error) -> bool:
    """Tell whether the same statement may succeed later on the same server."""
    return isinstance(exc, _BUSY)


def is_lost(exc: psycopg.Error) -> bool:
    """Tell whether the connection itself is gone, not only the statement."""
    return isinstance(exc, _ENDED) or (
        isinstance(exc, psycopg.OperationalError)
        and (exc.sqlstate is None or exc.sqlstate.startswith("08"))
    )


def translate(exc: psycopg.Error, *, server: str, doing: str) -> BrokerError:
    """Turn PostgreSQL's error into one of the domain's.

    Args:
        exc: What psycopg raised.
        server: The configured name of the server.
        doing: What the engine was about to do, completing "could not ...".

    Returns:
        The error to raise from ``exc``.
    """
    if is_lost(exc) or isinstance(exc, _AWAY):
        return unavailable(server)
    if is_busy(exc):
        return TemporaryFailure(
            f"The PostgreSQL server {server!r} could not {doing}: it is busy or something is "
            f"locked (SQLSTATE {exc.sqlstate}). Try again in a moment."
        )
    return PermanentFailure(
        f"The PostgreSQL server {server!r} could not {doing} (SQLSTATE {exc.sqlstate}). "
        "Ask the operator of this broker; its log has the server's own words."
    )


def closed(database: str) -> TemporaryFailure:
    """Return the error that says that a database lets nobody in."""
    return TemporaryFailure(
        f"The database {database!r} does not accept connections: it is being created or dropped, "
        "or its operator has closed it. Try again later.",
        instance_usable=False,
    )


def unavailable(server: str) -> ServerUnavailable:
    """Return the error that says that a server cannot be reached."""
    return ServerUnavailable(
        f"The PostgreSQL server {server!r} cannot be reached, or has no connection to spare. "
        "Try again later."
    )
