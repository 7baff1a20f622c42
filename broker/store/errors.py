"""What can go wrong with the state database, told to the person who has to act.

Belongs here: the store's own errors, and the one table from the driver's errors to the domain's.
Translation goes by SQLSTATE (PostgreSQL manual, appendix A) and never by message text.

::

    PermanentFailure
    ├── EncryptionKeyMissing    rows reference a key that is not configured
    ├── EncryptionKeyWrong      a configured key is not the one rows were encrypted with
    └── DecryptionFailed        one ciphertext does not decrypt
    ValueError
    └── InvalidKeyRing          the configured keys make no ring
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy.exc import DBAPIError

from broker.domain.errors import (
    ConcurrencyError,
    InvalidRequest,
    NotFound,
    PermanentFailure,
    StateUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from broker.domain.errors import BrokerError


class InvalidKeyRing(ValueError):
    """The configured encryption keys are malformed."""


class EncryptionKeyMissing(PermanentFailure):
    """Secrets, or the tags of databases, were made with a key that is not configured."""

    def __init__(self, key_ids: Sequence[str]) -> None:
        super().__init__(
            "Secrets in the state database, or the tags of databases, were made with encryption "
            f"keys that are not configured: {', '.join(key_ids)}. Configure them beside the new "
            "key for as long as those service instances exist."
        )


class EncryptionKeyWrong(PermanentFailure):
    """A configured encryption key is not the one the state database was used with."""

    def __init__(self, key_ids: Sequence[str]) -> None:
        super().__init__(
            "These configured encryption keys are not the ones this state database was used with "
            f"under the same ids: {', '.join(key_ids)}. Restore the keys, or give a new key a new "
            "id."
        )


class DecryptionFailed(PermanentFailure):
    """A stored secret does not decrypt."""


_MIGRATE = "Run `pgbroker migrate` with the version of pgbroker that is to serve."

SCHEMA_MISSING = f"The state database has no schema of pgbroker's yet. {_MIGRATE}"


def schema_differs(found: str | None, wanted: str) -> StateUnavailable:
    """Return the error for a schema that is older or newer than the code's.

    Args:
        found: The revision of the database, if it has one.
        wanted: The revision of the code.
    """
    return StateUnavailable(
        f"The state database's schema is at revision {found or 'none'}, this version of pgbroker "
        f"needs {wanted}. {_MIGRATE}"
    )


def wrong_encoding(found: str, wanted: str) -> StateUnavailable:
    """Return the error for a state database whose encoding cannot hold every identifier."""
    return StateUnavailable(
        f"The state database's encoding is {found}; create another one for pgbroker with "
        f"ENCODING '{wanted}' TEMPLATE template0. Nothing has been changed."
    )


UNKNOWN_FATE = (
    "The connection to the broker's state database broke at the end of a transaction, and whether "
    "it was recorded cannot be told yet. Repeat the same request in a moment."
)

BUSY = "The broker's state database is busy; nothing has been changed. Try again in a moment."

NO_RIGHT = (
    "The role of the broker's state database may not do there what it has to; nothing has been "
    "changed. The operator of this broker has to make that role the owner of the database."
)

_ACTIVE_INDEXES = {"operations_one_per_instance", "operations_one_per_binding"}
# What a standby answers, before its promotion or after a failover that we have not followed.
_READ_ONLY_TRANSACTION = "25006"
_UNUSABLE = {
    **dict.fromkeys(("40001", "40P01", "55P03", "57014"), BUSY),
    **dict.fromkeys(("42P01", "42703", "3F000"), SCHEMA_MISSING),
    "42501": NO_RIGHT,
}
"""What is said of a state database that can be reached, by SQLSTATE."""
_UNAVAILABLE_CLASSES = {"08", "53", "57", "58"}
# A transaction that was idle, or there, for too long: its session is gone.
_ENDED = {"25P03", "25P04"}


@contextmanager
def translated(*, outage: str | None = None) -> Iterator[None]:
    """Turn the driver's errors into the domain's; anything else is a defect and passes.

    Args:
        outage: What to say when the connection broke, if not that nothing has been changed.
    """
    try:
        yield
    except (psycopg.Error, DBAPIError) as exc:
        # Migrations run through SQLAlchemy, which wraps the driver's error.
        error = _translate(exc if isinstance(exc, psycopg.Error) else exc.orig, outage)
        if error is None:
            raise
        raise error from exc
    except UnicodeEncodeError as exc:
        raise InvalidRequest("A value of the request is not valid Unicode text.") from exc


def _translate(exc: BaseException | None, outage: str | None) -> BrokerError | None:
    state: str | None = getattr(exc, "sqlstate", None)
    if isinstance(exc, psycopg.DataError):
        return InvalidRequest("A value of the request cannot be stored in PostgreSQL.")
    if isinstance(exc, psycopg.IntegrityError):
        return _violation(exc)
    if state in _UNUSABLE:
        return StateUnavailable(_UNUSABLE[state])
    if _is_outage(exc, state):
        return StateUnavailable(outage)
    return None


def _is_outage(exc: BaseException | None, state: str | None) -> bool:
    if state is None:
        # A connection that could not be made, or broke, has no SQLSTATE.
        return isinstance(exc, (psycopg.OperationalError, psycopg.InterfaceError))
    return state[:2] in _UNAVAILABLE_CLASSES or state in _ENDED or state == _READ_ONLY_TRANSACTION


def _violation(exc: psycopg.IntegrityError) -> BrokerError | None:
    constraint = exc.diag.constraint_name or ""
    if constraint in _ACTIVE_INDEXES:
        return ConcurrencyError()
    if constraint == "bindings_instance_fkey":
        return NotFound("There is no such service instance.")
    if constraint.endswith("_size"):
        return InvalidRequest(
            f"The value of {constraint.removesuffix('_size')} is too long to be stored."
        )
    return None
