"""Encryption at rest: AES-256-GCM under a ring of keys.

Belongs here: everything that touches key material. A ciphertext is bound to the table, column and
row it was made for, so that a row copied over another one does not decrypt.
"""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from broker.store.errors import DecryptionFailed, EncryptionKeyMissing, InvalidKeyRing

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY_BYTES = 32
"""AES-256."""

_NONCE_BYTES = 12
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class KeyRing:
    """The configured encryption keys: the first one encrypts, each one decrypts.

    Args:
        keys: Pairs of an id (up to 64 letters, digits, ``_``, ``.`` and ``-``) and 32 random
            bytes, newest first.

    Raises:
        InvalidKeyRing: There is no key, or an id or a key is malformed or given twice.
    """

    def __init__(self, keys: Sequence[tuple[str, bytes]]) -> None:
        if not keys:
            raise InvalidKeyRing("No encryption key is configured; at least one is needed.")
        for key_id, key in keys:
            if not _KEY_ID.fullmatch(key_id):
                raise InvalidKeyRing(
                    f"The encryption key id {key_id[:80]!r} is malformed; use 1 to 64 letters, "
                    "digits, '_', '.' and '-'."
                )
            if len(key) != KEY_BYTES:
                raise InvalidKeyRing(
                    f"The encryption key {key_id!r} has {len(key)} bytes; it must have {KEY_BYTES}."
                )
        self._keys = dict(keys)
        if len(self._keys) != len(keys):
            raise InvalidKeyRing("An encryption key id is configured twice; ids must differ.")
        self._ciphers = {
            key_id: AESGCM(self.derive(key_id, "column", KEY_BYTES)) for key_id in self._keys
        }

    @property
    def ids(self) -> tuple[str, ...]:
        """The key ids, the one that encrypts first."""
        return tuple(self._keys)

    def derive(self, key_id: str, purpose: str, length: int) -> bytes:
        """Derive a key for one purpose, so that no key serves two algorithms (RFC 5869).

        Args:
            key_id: One of ``ids``.
            purpose: Different purposes give unrelated keys.
            length: Bytes wanted.
        """
        info = f"pgbroker {purpose}".encode()
        return HKDF(SHA256(), length, salt=None, info=info).derive(self._keys[key_id])

    def encrypt(self, plaintext: bytes, *, place: Sequence[str]) -> tuple[str, bytes]:
        """Encrypt with the first key.

        Args:
            plaintext: What to keep secret.
            place: Table, column and the row's key; decrypting needs the same.

        Returns:
            The key's id, and nonce and ciphertext in one.
        """
        key_id = self.ids[0]
        return key_id, self._seal(key_id, plaintext, place)

    def decrypt(self, key_id: str, ciphertext: bytes, *, place: Sequence[str]) -> bytes:
        """Decrypt what ``encrypt`` returned.

        Raises:
            EncryptionKeyMissing: The ring has no key of that id.
            DecryptionFailed: The ciphertext was altered or belongs to another place, or the key
                is not the one it was made with.
        """
        if key_id not in self._ciphers:
            raise EncryptionKeyMissing([key_id])
        nonce, sealed = ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:]
        try:
            return self._ciphers[key_id].decrypt(nonce, sealed, _associated(key_id, place))
        except (InvalidTag, ValueError) as exc:
            raise DecryptionFailed(
                f"A secret in {'.'.join(place[:2])} cannot be decrypted with the key {key_id!r}: "
                "the row was altered, or the key is another one under the same id."
            ) from exc

    def proof(self, key_id: str) -> bytes:
        """Return a ciphertext that only this key can have made; see ``proves``."""
        return self._seal(key_id, b"", ("encryption_keys", "proof", key_id))

    def proves(self, key_id: str, proof: bytes) -> bool:
        """Tell whether the ring's key of that id made the proof."""
        try:
            self.decrypt(key_id, proof, place=("encryption_keys", "proof", key_id))
        except DecryptionFailed:
            return False
        return True

    def _seal(self, key_id: str, plaintext: bytes, place: Sequence[str]) -> bytes:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._ciphers[key_id].encrypt(nonce, plaintext, _associated(key_id, place))

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(self.ids)})"


def _associated(key_id: str, place: Sequence[str]) -> bytes:
    # JSON, because a plain separator could occur inside an identifier.
    return json.dumps([key_id, *place]).encode()
