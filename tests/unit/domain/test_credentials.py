"""Secrets of a binding, and the document that hands them out."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import parse_qs, urlsplit

import pytest

from broker.domain.credentials import (
    PASSWORD_ALPHABET,
    PASSWORD_LENGTH,
    LoginSecret,
    Secret,
    credentials_document,
    generate_login_secret,
    scram_sha_256_verifier,
)
from broker.domain.database import Endpoint

# The exchange of RFC 7677, section 3: user "user", password "pencil".
RFC_SALT = "W22ZaJ0SNY7soEsUEjb6gQ=="
RFC_NONCE = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
RFC_MESSAGE = (
    f"n=user,r=rOprNGfwEbeRWgbNEkqO,r={RFC_NONCE},s={RFC_SALT},i=4096,c=biws,r={RFC_NONCE}"
).encode()
RFC_PROOF = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
RFC_SERVER_SIGNATURE = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_the_verifier_passes_the_exchange_of_the_rfc() -> None:
    """StoredKey accepts the client's proof of RFC 7677, and ServerKey signs as the server does."""
    verifier = scram_sha_256_verifier("pencil", salt=base64.b64decode(RFC_SALT), iterations=4096)
    mechanism, parameters, keys = verifier.split("$")
    assert (mechanism, parameters) == ("SCRAM-SHA-256", f"4096:{RFC_SALT}")
    stored_key, server_key = (base64.b64decode(key) for key in keys.split(":"))
    signature = hmac.digest(stored_key, RFC_MESSAGE, "sha256")
    client_key = bytes(a ^ b for a, b in zip(base64.b64decode(RFC_PROOF), signature, strict=True))
    assert hashlib.sha256(client_key).digest() == stored_key
    signed = hmac.digest(server_key, RFC_MESSAGE, "sha256")
    assert base64.b64encode(signed).decode() == RFC_SERVER_SIGNATURE


def test_generated_secrets_are_long_plain_and_new() -> None:
    """Every secret is its own, needs no quoting anywhere, and belongs to its verifier."""
    drawn = [generate_login_secret() for _ in range(50)]
    passwords = {secret.password.reveal() for secret in drawn}
    assert len(passwords) == 50
    assert all(len(password) == PASSWORD_LENGTH for password in passwords)
    assert set("".join(passwords)) <= set(PASSWORD_ALPHABET)
    assert len(PASSWORD_ALPHABET) ** PASSWORD_LENGTH > 2**128
    salts = {secret.verifier.reveal().split("$")[1] for secret in drawn}
    assert len(salts) == 50
    salt = base64.b64decode(drawn[0].verifier.reveal().split("$")[1].partition(":")[2])
    again = scram_sha_256_verifier(drawn[0].password.reveal(), salt=salt)
    assert drawn[0].verifier.reveal() == again


def test_a_secret_does_not_show_itself() -> None:
    """Neither printing nor formatting nor a record around it gives a secret away."""
    secret = LoginSecret(Secret("canary"), Secret("canary"))
    for shown in (repr(secret), str(secret), f"{secret.password}", f"{[secret.password]!r}"):
        assert "canary" not in shown
    assert secret.password.reveal() == "canary"


@pytest.mark.parametrize(
    ("host", "netloc_host"),
    [("db.example.com", "db.example.com"), ("10.0.0.1", "10.0.0.1"), ("::1", "[::1]")],
)
def test_addresses_of_every_kind_make_valid_uris(host: str, netloc_host: str) -> None:
    """Both URIs lead to the host, also when it is an IPv6 address; the plain field has it bare."""
    document = credentials_document(
        endpoint=Endpoint(host, 5433), database="dabc", username="uabc", password=Secret("secret")
    )
    assert document["host"] == host
    assert document["uri"].startswith(f"postgresql://uabc:secret@{netloc_host}:5433/dabc?")
    assert document["jdbc_url"].startswith(f"jdbc:postgresql://{netloc_host}:5433/dabc?")
    assert urlsplit(document["uri"]).hostname == host


def test_characters_with_a_meaning_are_encoded() -> None:
    """User, password and database come out of the URIs as they went in, whatever they contain."""
    user, password, database = "u:@/?#%&= ü", "p:@/?#%&=+ ß", "d/?#%&= ö"
    document = credentials_document(
        endpoint=Endpoint("h", 5432, sslmode="verify-full"),
        database=database,
        username=user,
        password=Secret(password),
    )
    uri = urlsplit(document["uri"])
    encoded_user, _, encoded_password = uri.netloc.rpartition("@")[0].partition(":")
    assert parse_qs(f"u={encoded_user}&p={encoded_password}&d={uri.path[1:]}") == {
        "u": [user],
        "p": [password],
        "d": [database],
    }
    assert parse_qs(uri.query) == {"sslmode": ["verify-full"]}
    jdbc = urlsplit(document["jdbc_url"].removeprefix("jdbc:"))
    assert parse_qs(jdbc.query) == {
        "user": [user],
        "password": [password],
        "sslmode": ["verify-full"],
    }


def test_the_document_has_what_clients_look_for() -> None:
    """All values are strings, since platforms JSON-encode anything else; the CA only if there."""
    plain = credentials_document(
        endpoint=Endpoint("h", 5432), database="d", username="u", password=Secret("p")
    )
    assert plain == {
        "type": "postgresql",
        "provider": "pgbroker",
        "host": "h",
        "port": "5432",
        "database": "d",
        "username": "u",
        "password": "p",
        "sslmode": "prefer",
        "uri": "postgresql://u:p@h:5432/d?sslmode=prefer",
        "jdbc_url": "jdbc:postgresql://h:5432/d?user=u&password=p&sslmode=prefer",
    }
    verified = credentials_document(
        endpoint=Endpoint("h", 5432, "verify-ca", "PEM"),
        database="d",
        username="u",
        password=Secret("p"),
    )
    assert verified["ca_certificate"] == "PEM"
