"""The server's TLS certificate and the private authority that signs it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509

from broker.embedded.errors import EmbeddedPostgresError

if TYPE_CHECKING:
    from pathlib import Path

    from broker.embedded.account import Account

SERVER_NAMES = ("localhost", "127.0.0.1", "::1")
"""What the certificate is valid for, so that ``sslmode=verify-full`` works."""

_LIFETIME = timedelta(days=825)
_RENEW_BEFORE = timedelta(days=30)


def ensure_certificate(directory: Path, account: Account) -> str:
    """Make ``server.crt``, ``server.key`` and ``ca.crt``, or leave them when they last a while yet.

    The authority is made anew with every certificate and its key is never written: nobody can sign
    a second certificate with it. It holds for 825 days and is renewed in the last 30.

    Args:
        directory: Where the three files belong.
        account: Who has to read the key.

    Returns:
        The authority's certificate in PEM, for clients' ``sslrootcert``.

    Raises:
        EmbeddedPostgresError: ``trustme`` is not installed.
    """
    authority, certificate, key = (directory / n for n in ("ca.crt", "server.crt", "server.key"))
    if not (all(f.is_file() for f in (authority, certificate, key)) and _lasts(certificate)):
        _issue(authority, certificate, key, account)
    return authority.read_text("ascii")


def _lasts(certificate: Path) -> bool:
    try:
        parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
    except ValueError:
        return False
    return parsed.not_valid_after_utc - datetime.now(UTC) > _RENEW_BEFORE


def _issue(authority: Path, certificate: Path, key: Path, account: Account) -> None:
    try:
        import trustme  # noqa: PLC0415 - in the extra `dev`, and only PostgreSQL with TLS needs it
    except ImportError:
        raise EmbeddedPostgresError(
            "The package trustme, which makes PostgreSQL's TLS certificate, is not installed. "
            "Install pgbroker[dev]."
        ) from None
    issuer = trustme.CA(organization_name="pgbroker", organization_unit_name="embedded PostgreSQL")
    issued = issuer.issue_cert(*SERVER_NAMES, not_after=datetime.now(UTC) + _LIFETIME)
    # The server refuses to start with a key that others can read.
    key.unlink(missing_ok=True)
    key.touch(mode=0o600)
    key.write_bytes(issued.private_key_pem.bytes())
    authority.write_bytes(issuer.cert_pem.bytes())
    certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    for file in (key, authority, certificate):
        account.own(file)
