"""Connection strings and certificates, as far as they can be checked without connecting.

Belongs here: messages for mistakes that libpq or OpenSSL would report late or not understandably.
None of them repeats the value.
"""

from __future__ import annotations

import os
import re
import ssl
from typing import TYPE_CHECKING

from cryptography import x509

if TYPE_CHECKING:
    from pathlib import Path

_URI = re.compile(r"postgres(ql)?://")
_KEYWORDS = re.compile(r"\s*[a-z_]+\s*=")


def dsn_problem(dsn: str) -> str | None:
    """Say what is wrong with a libpq connection string, or ``None``.

    See the PostgreSQL manual, "Connection Strings".
    """
    if _URI.match(dsn):
        return "must not contain white space; write %20." if re.search(r"\s", dsn) else None
    if re.match(r"\w+\+\w+://", dsn):
        return "must be a libpq connection string: leave out the driver after 'postgresql'."
    if _KEYWORDS.match(dsn):
        return None
    return (
        "must be a libpq connection string: 'postgresql://user:password@host:5432/database' or "
        "'host=... dbname=...'."
    )


def authority_problem(pem: str) -> str | None:
    """Say what is wrong with the certificate of an authority, or ``None``."""
    if "PRIVATE KEY-----" in pem:
        return "contains a private key, and tenants would get it; give the certificate alone."
    try:
        x509.load_pem_x509_certificates(pem.encode())
    except ValueError:
        return "is not a PEM certificate."
    return None


def key_pair_problem(certificate: Path, key: Path) -> str | None:
    """Say what is wrong with a server's certificate and private key, or ``None``."""
    try:
        # Without a password at hand, OpenSSL would ask for one on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError:
        return (
            f"{certificate} and {key} are not a PEM certificate and its private key, or the key "
            "is protected by a password."
        )
    except OSError as exc:
        unreadable = [str(file) for file in (certificate, key) if not os.access(file, os.R_OK)]
        which = " and ".join(unreadable) or f"{certificate} or {key}"
        return f"{which} cannot be read: {(exc.strerror or 'failed').lower()}."
    return None
