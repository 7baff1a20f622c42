"""Names of databases and roles: random, so that they tell other tenants nothing.

Role and database names are visible to every role of a PostgreSQL server, and that cannot be closed.
"""

from __future__ import annotations

import base64
import re
import secrets

_RANDOM_BYTES = 10
_DATABASE = re.compile(r"d[a-z2-7]{16}(_deleted)?")


def _token() -> str:
    return base64.b32encode(secrets.token_bytes(_RANDOM_BYTES)).decode("ascii").lower()


def database_name() -> str:
    """Return a new name: ``d`` and 80 random bits in base32.

    The database has it, and so has the role that every login of it is a member of: that is what
    ``samerole`` in ``pg_hba.conf`` asks for.
    """
    return f"d{_token()}"


def owner_name(database: str) -> str:
    """Return the name of the role that owns what is in a database."""
    return f"{database}_owner"


def retained_name(database: str) -> str:
    """Return the name a database has while it is kept after its deletion."""
    return f"{database}_deleted"


def former_name(database: str) -> str:
    """Return the name a kept database had: its group roles have it still, and its lock."""
    return database.removesuffix(retained_name(""))


def is_database_name(name: str) -> bool:
    """Tell whether a database's name is one that the broker gives, also to what it keeps."""
    return _DATABASE.fullmatch(name) is not None


def login_name() -> str:
    """Return a new name for a binding's login role: ``u`` and 80 random bits in base32."""
    return f"u{_token()}"
