"""From the credentials of a binding to connections, whichever way their keys are spelt."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from broker.smoke.errors import StepFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

_URI = ("uri", "url", "database_uri", "database_url", "connection_string")
_FIELDS = {
    "host": ("host", "hostname"),
    "port": ("port",),
    "dbname": ("database", "dbname", "db_name", "db", "name"),
    "user": ("username", "user"),
    "password": ("password",),
}
_OPTIONAL = frozenset({"port"})
_CA = ("ca_certificate", "ca_cert", "cacert", "sslrootcert")
_CONNECT_TIMEOUT = 10

Way = dict[str, Any]


def ways_to_connect(credentials: Mapping[str, Any], ca_file: Path) -> dict[str, Way]:
    """Return libpq's connection parameters for every way the credentials describe.

    Args:
        credentials: Of a binding.
        ca_file: Written when the credentials carry a CA certificate.

    Returns:
        Parameters under ``uri`` and ``fields``, of which there is at least one.

    Raises:
        StepFailed: The credentials do not tell how to connect. No message shows a value.
    """
    extra = _options(credentials, ca_file)
    ways: dict[str, Way] = {}
    uri = _first(credentials, _URI)
    if uri is not None:
        ways["uri"] = {**_parse(uri), **extra}
    fields = {name: _first(credentials, keys) for name, keys in _FIELDS.items()}
    missing = [name for name, value in fields.items() if value is None and name not in _OPTIONAL]
    if not missing:
        given = {name: value for name, value in fields.items() if value is not None}
        ways["fields"] = {**given, **extra}
    if not ways:
        keys = ", ".join(sorted(credentials))
        raise StepFailed(
            f"The credentials have no 'uri', and no {' and no '.join(map(repr, missing))} either. "
            f"Their keys are: {keys}."
        )
    return ways


def secrets_of(credentials: Mapping[str, Any]) -> Iterator[str]:
    """Yield what must never be shown: the password, as it is and as it stands in a URI."""
    found = [_first(credentials, _FIELDS["password"])]
    uri = _first(credentials, _URI)
    if uri is not None:
        yield uri
        with suppress(ProgrammingError):  # whoever wants to connect with it says so
            found.append(_first(conninfo_to_dict(uri), ("password",)))
    for password in found:
        if password:
            yield from (password, quote(password, safe=""))


def _parse(uri: str) -> Way:
    # The reason psycopg gives would quote the URI, and with it the password.
    try:
        parsed: Way = dict(conninfo_to_dict(uri))
    except ProgrammingError:
        raise StepFailed(
            "'uri' of the credentials is not a connection URI of PostgreSQL."
        ) from None
    missing = [name for name in ("host", "dbname", "user", "password") if not parsed.get(name)]
    if missing:
        raise StepFailed(f"'uri' of the credentials has no {' and no '.join(missing)}.")
    return parsed


def _options(credentials: Mapping[str, Any], ca_file: Path) -> Way:
    options: Way = {"connect_timeout": _CONNECT_TIMEOUT, "application_name": "pgbroker-smoke"}
    sslmode, ca = _first(credentials, ("sslmode",)), _first(credentials, _CA)
    if sslmode is not None:
        options["sslmode"] = sslmode
    if ca is not None and "-----BEGIN" in ca:
        ca_file.write_text(ca, "ascii")
        options["sslrootcert"] = str(ca_file)
    return options


def _first(credentials: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    for key in keys:
        value = credentials.get(key)
        if isinstance(value, str | int) and str(value):
            return str(value)
    return None
