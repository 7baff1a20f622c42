"""Which platform a request comes from (OSB API 2.17, "Platform to Service Broker Authentication").

HTTP Basic authentication, RFC 7617. Every platform has a name, a user and one or two passwords;
two are valid at once while they are being changed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from typing import TYPE_CHECKING

from broker.domain.errors import Unauthorized

if TYPE_CHECKING:
    from collections.abc import Iterable

_KEY_BYTES = 32
_DIGEST_BYTES = 32


class Authenticator:
    """Finds the platform whose credentials an ``Authorization`` header carries.

    What is compared are digests under a key that nobody outside this process knows, so the time a
    look-up takes tells nothing about the credentials.
    """

    def __init__(self, credentials: Iterable[tuple[str, str, str]]) -> None:
        """Remember who may call.

        Args:
            credentials: Platform name, user name and password; a platform may appear twice.
        """
        self._key = secrets.token_bytes(_KEY_BYTES)
        self._platforms = {
            self._digest(f"{username}:{password}".encode()): platform
            for platform, username, password in credentials
        }

    def authenticate(self, header: bytes | None) -> str:
        """Return the name of the platform.

        Args:
            header: The value of ``Authorization``, or ``None`` without (exactly) one.

        Raises:
            Unauthorized: Missing, malformed or wrong; the description does not say which user.
        """
        if header is None:
            raise Unauthorized(
                "This broker wants HTTP Basic authentication; the request carried no credentials."
            )
        scheme, _, encoded = header.strip().partition(b" ")
        if scheme.lower() != b"basic":
            raise Unauthorized("This broker wants HTTP Basic authentication.")
        try:
            decoded = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            raise Unauthorized("The Authorization header is not valid Base64.") from None
        platform = self._platforms.get(self._digest(decoded))
        if platform is None:
            raise Unauthorized
        return platform

    def _digest(self, credentials: bytes) -> bytes:
        return hashlib.blake2b(credentials, key=self._key, digest_size=_DIGEST_BYTES).digest()
