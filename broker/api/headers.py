"""The headers of the protocol (OSB API 2.17, "Headers")."""

from __future__ import annotations

import base64
import binascii
import re
from typing import TYPE_CHECKING

from broker.api.strict_json import parse_object
from broker.domain.errors import InvalidRequest, UnsupportedAPIVersion
from broker.domain.operation import OriginatingIdentity

if TYPE_CHECKING:
    from collections.abc import Iterable

API_VERSION = b"x-broker-api-version"
REQUEST_IDENTITY = b"x-broker-api-request-identity"
AUTHORIZATION = b"authorization"
CONTENT_LENGTH = b"content-length"
CONTENT_TYPE = b"content-type"

SUPPORTED = "2.17"

_MAJOR = 2
_VERSION = re.compile(rb"(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})")
_REQUEST_IDENTITY = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]{0,254}[\x21-\x7e])?")


def single(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """Return the value of a header that is there exactly once, else ``None``.

    Args:
        headers: ASGI headers, names in lower case.
        name: In lower case.
    """
    values = [value for key, value in headers if key == name]
    return values[0] if len(values) == 1 else None


def check_api_version(value: bytes | None) -> None:
    """Refuse what does not speak version 2 of the protocol.

    Minor versions only add, so every 2.x is served.

    Raises:
        InvalidRequest: The header is missing or not ``MAJOR.MINOR``.
        UnsupportedAPIVersion: It names another major version.
    """
    if value is None:
        raise InvalidRequest(
            f"The header X-Broker-API-Version is required (once); this broker speaks {SUPPORTED}."
        )
    match = _VERSION.fullmatch(value.strip())
    if match is None:
        raise InvalidRequest(
            f"The header X-Broker-API-Version must be MAJOR.MINOR, for example {SUPPORTED}."
        )
    if int(match[1]) != _MAJOR:
        raise UnsupportedAPIVersion(
            f"This broker speaks version {SUPPORTED} of the Open Service Broker API; the request "
            f"is of version {match[0].decode('ascii')}."
        )


def request_identity(value: bytes | None) -> str | None:
    """Return the request identity if it is fit for a log line and a response header."""
    if value is None or not _REQUEST_IDENTITY.fullmatch(value):
        return None
    return value.decode("ascii")


def originating_identity(value: str | None) -> OriginatingIdentity | None:
    """Decode ``X-Broker-API-Originating-Identity``.

    Args:
        value: ``<platform> <Base64 of a JSON object>``.

    Raises:
        InvalidRequest: It is something else.
    """
    if value is None:
        return None
    refusal = InvalidRequest(
        "The header X-Broker-API-Originating-Identity must be a platform, a space, and a JSON "
        "object in Base64."
    )
    platform, _, encoded = value.strip().partition(" ")
    if not platform or not encoded:
        raise refusal
    try:
        # Some platforms use the URL-safe alphabet or leave the padding out.
        standard = encoded.strip().rstrip("=").replace("-", "+").replace("_", "/")
        decoded = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise refusal from None
    try:
        return OriginatingIdentity(platform, parse_object(decoded))
    except ValueError:
        raise refusal from None
