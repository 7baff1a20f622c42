"""The COMMENT that says whose a database or role is, unreadable to other tenants.

Every role of a PostgreSQL server can read ``pg_shdescription``, so the comment is encrypted. The
encryption is deterministic (AES-SIV, RFC 5297): the same instance always has the same tag, and two
tags can be compared without a key.

::

    pgbroker:1:<key id>:<sealed>                      a database, its read-only group role
    pgbroker:1:<key id>:<sealed> record:<sealed>      its owner role, and each login role

The database and the group roles of a deleted instance whose data is kept have a tag of their own.
The tag is the first word, and all that ownership is judged by. The record is what a broker whose
state was lost needs to know beside: it changes when the instance does, the tag never. Roles made
before there were records have the tag alone.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from broker.domain.deleted import DeletedInstance, DeletedKey
from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey
from broker.store import records
from broker.store.errors import EncryptionKeyMissing

if TYPE_CHECKING:
    from broker.store.encryption import KeyRing

_PREFIX = "pgbroker:1:"
_RECORD = "record:"
_SIV_KEY_BYTES = 64
_DELETED = "deleted"


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
        self._record_ciphers = {
            key_id: AESSIV(keys.derive(key_id, "record", _SIV_KEY_BYTES)) for key_id in keys.ids
        }

    def instance(self, key: InstanceKey, key_id: str) -> str:
        """Return the tag of a database and its group roles.

        Raises:
            EncryptionKeyMissing: The ring has no key of that id.
        """
        return self._seal([key.platform, key.instance_id], key_id)

    def binding(self, key: BindingKey, key_id: str) -> str:
        """Return the tag of a login role.

        Raises:
            EncryptionKeyMissing: The ring has no key of that id.
        """
        owner = key.instance
        return self._seal([owner.platform, owner.instance_id, key.binding_id], key_id)

    def instance_record(self, instance: Instance) -> str:
        """Return the record that follows the tag of an owner role.

        Raises:
            EncryptionKeyMissing: The ring has no key like that of the instance's tags.
        """
        key_id = instance.tag_key_id
        tag = self.instance(instance.key, key_id)
        return self._seal_record(records.instance_document(instance), key_id, tag)

    def binding_record(self, binding: Binding, key_id: str) -> str:
        """Return the record that follows the tag of a login role.

        Raises:
            EncryptionKeyMissing: The ring has no key of that id.
        """
        tag = self.binding(binding.key, key_id)
        return self._seal_record(records.binding_document(binding), key_id, tag)

    def deleted(self, key: DeletedKey, key_id: str) -> str:
        """Return the tag of the database and group roles of a deleted instance.

        Raises:
            EncryptionKeyMissing: The ring has no key of that id.
        """
        former = key.instance
        return self._seal([former.platform, former.instance_id, _DELETED, str(key.id)], key_id)

    def deleted_record(self, deleted: DeletedInstance) -> str:
        """Return the record that follows the tag of the owner role of a deleted instance.

        Raises:
            EncryptionKeyMissing: The ring has no key like that of the instance's tags.
        """
        key_id = deleted.instance.tag_key_id
        tag = self.deleted(deleted.key, key_id)
        return self._seal_record(records.deleted_document(deleted), key_id, tag)

    def open(self, comment: str) -> InstanceKey | BindingKey | DeletedKey | None:
        """Return whose a comment is; ``None`` when it was not made with a key of the ring."""
        tag = _word(comment, 0)
        key_id, _, sealed = tag.removeprefix(_PREFIX).partition(":")
        cipher = self._ciphers.get(key_id)
        if cipher is None or not tag.startswith(_PREFIX):
            return None
        parts = _opened(cipher, sealed, [key_id.encode()])
        if parts is None:
            return None
        platform, instance_id, *rest = parts
        instance = InstanceKey(platform, instance_id)
        match rest:
            case [_, deletion]:
                return DeletedKey(instance, UUID(deletion))
            case [binding_id]:
                return BindingKey(instance, binding_id)
        return instance

    def recover_instance(self, comment: str, *, database: str) -> Instance | None:
        """Return the instance that the comment on an owner role describes.

        Args:
            comment: Of the owner role.
            database: The database's name.

        Returns:
            The instance, with the status ``FAILED`` until somebody has seen its database; ``None``
            when the comment is not an instance's, or has no record that belongs to it.
        """
        key = self.open(comment)
        document = self._open_record(comment)
        if not isinstance(key, InstanceKey) or document is None:
            return None
        return records.to_instance(document, key, database=database, tag_key_id=_key_id(comment))

    def recover_binding(self, comment: str, *, login: str) -> Binding | None:
        """Return the binding that the comment on a login role describes, without a password.

        Args:
            comment: Of the login role.
            login: Its name.

        Returns:
            The binding, with the status ``FAILED`` until somebody has seen its role; ``None`` when
            the comment is not a binding's, or has no record that belongs to it.
        """
        key = self.open(comment)
        document = self._open_record(comment)
        if not isinstance(key, BindingKey) or document is None:
            return None
        return records.to_binding(document, key, login=login)

    def recover_deleted(self, comment: str, *, database: str) -> DeletedInstance | None:
        """Return the deleted instance that the comment on an owner role describes.

        Args:
            comment: Of the owner role.
            database: The name of the database as the instance had it.

        Returns:
            The deleted instance as it is while it is retained; ``None`` when the comment is not
            that of one, or has no record that belongs to it.
        """
        key = self.open(comment)
        document = self._open_record(comment)
        if not isinstance(key, DeletedKey) or document is None:
            return None
        return records.to_deleted(document, key, database=database, tag_key_id=_key_id(comment))

    def missing_key(self, comment: str) -> str | None:
        """Return the id of the key a comment was made with, when the ring has none of that id."""
        key_id = _key_id(comment) if comment.startswith(_PREFIX) else None
        return None if key_id in self._ciphers else key_id

    def _seal(self, parts: list[str], key_id: str) -> str:
        if key_id not in self._ciphers:
            raise EncryptionKeyMissing([key_id])
        sealed = self._ciphers[key_id].encrypt(json.dumps(parts).encode(), [key_id.encode()])
        return f"{_PREFIX}{key_id}:{_encoded(sealed)}"

    def _seal_record(self, document: dict[str, Any], key_id: str, tag: str) -> str:
        # Sorted, because the state database does not promise to keep the order of an object.
        plaintext = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        return _RECORD + _encoded(self._record_ciphers[key_id].encrypt(plaintext, [tag.encode()]))

    def _open_record(self, comment: str) -> dict[str, Any] | None:
        cipher = self._record_ciphers.get(_key_id(comment))
        record = _word(comment, 1)
        if cipher is None or not record.startswith(_RECORD):
            return None
        tag = _word(comment, 0).encode()
        document: dict[str, Any] | None = _opened(cipher, record.removeprefix(_RECORD), [tag])
        return document


def _word(comment: str, number: int) -> str:
    words = comment.split(" ")
    return words[number] if number < len(words) else ""


def _key_id(comment: str) -> str:
    return comment.removeprefix(_PREFIX).partition(":")[0]


def _encoded(sealed: bytes) -> str:
    return base64.b64encode(sealed).decode("ascii")


def _opened(cipher: AESSIV, sealed: str, associated: list[bytes]) -> Any:
    """Return the JSON that was sealed, ``None`` when it was not sealed like this."""
    try:
        return json.loads(cipher.decrypt(base64.b64decode(sealed, validate=True), associated))
    except (InvalidTag, ValueError, binascii.Error):
        return None
