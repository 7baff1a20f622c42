"""The COMMENT that says whose a database or role is, unreadable to other tenants.

Every role of a PostgreSQL server can read ``pg_shdescription``, so the comment is encrypted. The
encryption is deterministic (AES-SIV, RFC 5297): the same instance always has the same tag, and two
tags can be compared without a key.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from broker.domain.instance import BindingKey, InstanceKey

if TYPE_CHECKING:
    from broker.store.encryption import KeyRing

_PREFIX = "pgbroker:1:"
_SIV_KEY_BYTES = 64


class EncryptedTags:
    """A ``Tags`` that encrypts with the ring's oldest key and opens what any key made.

    The oldest, so that adding a key changes no tag; the store refuses to start when that key is
    taken away while instances carry its tags.

    Args:
        keys: The ring that encrypts the state database, too.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._key_id = keys.tag_id
        self._ciphers = {
            key_id: AESSIV(keys.derive(key_id, "tag", _SIV_KEY_BYTES)) for key_id in keys.ids
        }

    def instance(self, key: InstanceKey) -> str:
        """Return the comment for a database and its group roles."""
        return self._seal([key.platform, key.instance_id])

    def binding(self, key: BindingKey) -> str:
        """Return the comment for a login role."""
        return self._seal([key.instance.platform, key.instance.instance_id, key.binding_id])

    def open(self, comment: str) -> InstanceKey | BindingKey | None:
        """Return whose a comment is; ``None`` when it was not made with a key of the ring."""
        key_id, _, sealed = comment.removeprefix(_PREFIX).partition(":")
        cipher = self._ciphers.get(key_id)
        if cipher is None or not comment.startswith(_PREFIX):
            return None
        try:
            plaintext = cipher.decrypt(base64.b64decode(sealed, validate=True), [key_id.encode()])
        except (InvalidTag, ValueError, binascii.Error):
            return None
        platform, instance_id, *binding = json.loads(plaintext)
        instance = InstanceKey(platform, instance_id)
        return BindingKey(instance, binding[0]) if binding else instance

    def _seal(self, parts: list[str]) -> str:
        plaintext = json.dumps(parts).encode()
        sealed = self._ciphers[self._key_id].encrypt(plaintext, [self._key_id.encode()])
        return f"{_PREFIX}{self._key_id}:{base64.b64encode(sealed).decode('ascii')}"
