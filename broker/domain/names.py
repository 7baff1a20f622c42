"""Names of databases and roles: random, so that they tell other tenants nothing.

Role and database names are visible to every role of a PostgreSQL server, and that cannot be closed.
"""

from __future__ import annotations

import base64
import secrets

_RANDOM_BYTES = 10


def _token() -> str:
    return base64.b32encode(secrets.token_bytes(_RANDOM_BYTES)).decode("ascii").lower()


def database_name() -> str:
    """Return a new name for a database and its owner role: ``d`` and 80 random bits in base32."""
    return f"d{_token()}"


def reader_name(database: str) -> str:
    """Return the name of a database's read-only group role."""
    return f"{database}_reader"


def login_name() -> str:
    """Return a new name for a binding's login role: ``u`` and 80 random bits in base32."""
    return f"u{_token()}"
