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
from broker.store.errors import EncryptionKeyMissing

if TYPE_CHECKING:
    from broker.store.encryption import KeyRing

_PREFIX = "pgbroker:1:"
_SIV_KEY_BYTES = 64


class EncryptedTags:
    """A ``Tags`` that makes tags with any key of the ring, and opens what any key made.

    Whoever wants a tag again names the key it was made with, so that no order of the keys changes
    it; the store refuses to start when a key is taken away while instances carry its tags.

    Args:
        keys: The ring that encrypts the state database, too.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._ciphers = {
            key_id: AESSIV(keys.derive(key_id, "tag", _SIV_KEY_BYTES)) for key_id in keys.ids
        }

    def instance(self, key: InstanceKey, key_id: str) -> str:
        """Return the comment for a database and its group roles.

        Raises:
            EncryptionKeyMissing: The ring has no key of that id.
        """
        return self._seal([key.platform, key.instance_id], key_id)

    def binding(self, key: BindingKey, key_id: str) -> str:
        """Return the comment for a login role.

        Raises:
            EncryptionKeyMissing: The ring has no key of that id.
        """
        owner = key.instance
        return self._seal([owner.platform, owner.instance_id, key.binding_id], key_id)

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

    def _seal(self, parts: list[str], key_id: str) -> str:
        if key_id not in self._ciphers:
            raise EncryptionKeyMissing([key_id])
        sealed = self._ciphers[key_id].encrypt(json.dumps(parts).encode(), [key_id.encode()])
        return f"{_PREFIX}{key_id}:{base64.b64encode(sealed).decode('ascii')}"
