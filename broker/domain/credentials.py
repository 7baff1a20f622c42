"""Secrets of a binding: made here, shown only where they are meant to be seen."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

if TYPE_CHECKING:
    from broker.domain.database import Endpoint

PASSWORD_ALPHABET = string.ascii_letters + string.digits
"""Needs no quoting in a URI, a shell, a YAML file, a JDBC URL or a ``.pgpass`` line."""

PASSWORD_LENGTH = 32
"""32 characters of 62 carry 190 bits."""

SCRAM_ITERATIONS = 4096
"""PostgreSQL's own default (``scram_iterations``); 190 random bits need no stretching."""

_SALT_BYTES = 16


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A string that neither ``repr`` nor ``str`` nor a log line gives away."""

    _value: str

    def reveal(self) -> str:
        """Return the secret itself; every call is a place to look at in a review."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class LoginSecret:
    """A login role's password and the SCRAM verifier PostgreSQL stores for it."""

    password: Secret
    verifier: Secret


@dataclass(frozen=True, slots=True)
class AdminPassword:
    """A password that the broker's own role on a server has, or may have.

    Attributes:
        version: The newest is the greatest.
        secret: The password.
        confirmed: Whether the broker has logged in with it since it was changed to it.
    """

    version: int
    secret: Secret
    confirmed: bool


def generate_login_secret() -> LoginSecret:
    """Draw a new password from the operating system's generator and derive its verifier."""
    password = "".join(secrets.choice(PASSWORD_ALPHABET) for _ in range(PASSWORD_LENGTH))
    verifier = scram_sha_256_verifier(password, salt=secrets.token_bytes(_SALT_BYTES))
    return LoginSecret(Secret(password), Secret(verifier))


def scram_sha_256_verifier(
    password: str, *, salt: bytes, iterations: int = SCRAM_ITERATIONS
) -> str:
    """Derive what ``CREATE ROLE ... PASSWORD`` takes in place of a plaintext password.

    Made on the client, so that the password reaches neither the server nor its log nor
    ``pg_stat_statements``.

    Args:
        password: ASCII; SASLprep would leave it as it is.
        salt: Random bytes, 16 by PostgreSQL's custom.
        iterations: Rounds of PBKDF2.

    Returns:
        ``SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>``.

    See RFC 5802, section 3, and the PostgreSQL manual, "pg_authid", column ``rolpassword``.
    """
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    return "SCRAM-SHA-256${}:{}${}:{}".format(
        iterations,
        *(base64.b64encode(part).decode("ascii") for part in (salt, stored_key, server_key)),
    )


def credentials_document(
    *, endpoint: Endpoint, database: str, username: str, password: Secret
) -> dict[str, Any]:
    """Build the ``credentials`` object of a bind response.

    The keys are those of the Service Binding Specification for Kubernetes, with the ones
    PostgreSQL clients look for beside them. Every value is a string: platforms JSON-encode
    anything else when they write it into a Secret.

    Args:
        endpoint: Where the tenant connects, and how it verifies the server.
        database: The database's name.
        username: The login role.
        password: Its password; this is the one place that puts it into clear text.

    Returns:
        A new mapping with ``type``, ``provider``, ``host``, ``port``, ``database``, ``username``,
        ``password``, ``sslmode``, ``uri``, ``jdbc_url``, and ``ca_certificate`` where the server
        has one.
    """
    secret = password.reveal()
    options = {"sslmode": endpoint.sslmode}
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    location = f"{host}:{endpoint.port}/{quote(database, safe='')}"
    credentials = {
        "type": "postgresql",
        "provider": "pgbroker",
        "host": endpoint.host,
        "port": str(endpoint.port),
        "database": database,
        "username": username,
        "password": secret,
        "sslmode": endpoint.sslmode,
        "uri": (
            f"postgresql://{quote(username, safe='')}:{quote(secret, safe='')}"
            f"@{location}?{urlencode(options)}"
        ),
        "jdbc_url": (
            f"jdbc:postgresql://{location}?"
            f"{urlencode({'user': username, 'password': secret, **options})}"
        ),
    }
    if endpoint.ca_certificate is not None:
        credentials["ca_certificate"] = endpoint.ca_certificate
    return credentials
