"""Credentials of any broker lead to a connection, and their secrets are known as such."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from broker.smoke.credentials import secrets_of, ways_to_connect
from broker.smoke.errors import StepFailed

if TYPE_CHECKING:
    from pathlib import Path

_EXPECTED = {"host": "db.example", "port": "5433", "dbname": "d", "user": "u", "password": "p@ss"}
_OURS = {
    "host": "db.example",
    "port": "5433",
    "database": "d",
    "username": "u",
    "password": "p@ss",
}


def _told(way: dict[str, Any]) -> dict[str, Any]:
    return {name: way[name] for name in _EXPECTED if name in way}


@pytest.mark.parametrize(
    "credentials",
    [
        _OURS,
        {"hostname": "db.example", "port": 5433, "dbname": "d", "user": "u", "password": "p@ss"},
        {"hostname": "db.example", "port": 5433, "name": "d", "username": "u", "password": "p@ss"},
    ],
    ids=["ours", "dbname and user", "name"],
)
def test_fields_are_found_under_their_usual_names(
    credentials: dict[str, Any], tmp_path: Path
) -> None:
    """Brokers spell the same fields differently, and ports are strings or numbers."""
    (way,) = ways_to_connect(credentials, tmp_path / "ca.pem").values()
    assert _told(way) == _EXPECTED


@pytest.mark.parametrize("key", ["uri", "url", "database_url"])
@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_uri_is_enough(key: str, scheme: str, tmp_path: Path) -> None:
    """Both schemes are understood, and what is percent-encoded is decoded."""
    ways = ways_to_connect({key: f"{scheme}://u:p%40ss@db.example:5433/d"}, tmp_path / "ca.pem")
    assert list(ways) == ["uri"]
    assert _told(ways["uri"]) == _EXPECTED


def test_both_ways_are_tried(tmp_path: Path) -> None:
    """Applications use either, so a URI does not stand in for the fields."""
    ways = ways_to_connect(_OURS | {"uri": "postgres://u:p@h/d"}, tmp_path / "ca.pem")
    assert list(ways) == ["uri", "fields"]


def test_the_ca_certificate_is_used(tmp_path: Path) -> None:
    """A certificate goes into the file that libpq is told of, with the mode of the credentials."""
    ca_file = tmp_path / "ca.pem"
    pem = "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n"
    credentials = _OURS | {"sslmode": "verify-full", "ca_certificate": pem}
    (way,) = ways_to_connect(credentials, ca_file).values()
    assert (way["sslmode"], way["sslrootcert"]) == ("verify-full", str(ca_file))
    assert ca_file.read_text() == pem


@pytest.mark.parametrize(
    ("credentials", "reason"),
    [
        ({"host": "h", "password": "geheim"}, "no 'dbname' and no 'user' either"),
        ({"uri": "mysql://u:geheim@h/d"}, "is not a connection URI of PostgreSQL"),
        ({"uri": "postgres://u:geheim@[h/d"}, "is not a connection URI of PostgreSQL"),
        ({"uri": "postgres://u:geheim@h"}, "has no dbname"),
        ({"token": "geheim"}, "Their keys are: token."),
    ],
)
def test_what_leads_nowhere_is_refused_without_its_secrets(
    credentials: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    """The message names keys, never values."""
    with pytest.raises(StepFailed) as refused:
        ways_to_connect(credentials, tmp_path / "ca.pem")
    assert reason in str(refused.value)
    assert "geheim" not in str(refused.value)


def test_secrets_are_known_in_every_spelling() -> None:
    """The password is hidden as it is, as it stands in a URI, and the URI as a whole."""
    uri = "postgres://u:s%2Fp@h/d"
    assert set(secrets_of({"password": "p@ss", "uri": uri})) == {
        "p@ss",
        "p%40ss",
        "s/p",
        "s%2Fp",
        uri,
    }
