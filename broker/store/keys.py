"""Rotating encryption keys: which columns hold secrets and key ids, and moving them to a new key.

Belongs here: the one list of encrypted columns. Whatever else is kept encrypted gets a line in it,
and is then counted and encrypted again with the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, select, union, update

from broker.domain.instance import InstanceKey
from broker.store.tables import (
    bindings,
    deleted_instances,
    encryption_keys,
    instances,
    server_passwords,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from sqlalchemy import Column, Select, Table, Update

    from broker.store.encryption import KeyRing
    from broker.store.execution import Execute

BATCH = 100
"""Rows encrypted again in one transaction."""


@dataclass(frozen=True, slots=True)
class Use:
    """A column with the ids of keys.

    Attributes:
        what: What the keys are used for, for people.
        key_id: The column.
    """

    what: str
    key_id: Column[Any]


SECRETS = (bindings, server_passwords)
"""The tables with the encrypted column ``secret`` and the id of its key in ``secret_key_id``.

A ciphertext is bound to table, column and the row's primary key, in this order, as text.
"""

USES = (
    Use("secrets of bindings", bindings.c.secret_key_id),
    Use("passwords of servers", server_passwords.c.secret_key_id),
    Use("tags of instances", instances.c.tag_key_id),
    Use("tags of deleted instances", deleted_instances.c.tag_key_id),
)
"""Everything that keeps a key from being taken out of the configuration."""


def _old(table: Table) -> Select[Any]:
    key = tuple(table.primary_key)
    return (
        select(*key, table.c.secret, table.c.secret_key_id)
        .where(table.c.secret_key_id != bindparam("first"))
        .order_by(*key)
        .limit(BATCH)
        # To wait with some locked would deadlock with the deletion of an instance's.
        .with_for_update(skip_locked=True)
    )


def _encrypted(table: Table) -> Update:
    new = update(table).values(
        secret=bindparam("new_secret"), secret_key_id=bindparam("new_key_id")
    )
    for column in table.primary_key:
        new = new.where(column == bindparam(f"key_{column.name}"))
    return new


_OLD = {table: _old(table) for table in SECRETS}
_ENCRYPTED = {table: _encrypted(table) for table in SECRETS}
_COUNTS = {
    use.what: select(use.key_id.label("id"), func.count().label("total"))
    .where(use.key_id.is_not(None))
    .group_by(use.key_id)
    for use in USES
}
_TAGGED_WITH_OTHERS = (
    select(instances.c.platform, instances.c.instance_id)
    .where(instances.c.tag_key_id != bindparam("first"))
    .order_by(instances.c.platform, instances.c.instance_id)
)
_PROOFS = select(encryption_keys)
USED_KEYS = union(*(select(use.key_id) for use in USES))
"""The ids of all keys that something needs."""


class KeyRecords:
    """What keys are used for, and moving it to the first of the ring.

    Args:
        execute: Runs a statement on its own.
        transaction: Opens a transaction, whose statements are run by what it gives.
        keys: The ring.
    """

    def __init__(
        self,
        execute: Execute,
        transaction: Callable[[], AbstractAsyncContextManager[Execute]],
        keys: KeyRing,
    ) -> None:
        self._execute = execute
        self._transaction = transaction
        self._keys = keys

    async def uses(self) -> dict[str, dict[str, int]]:
        """Count the rows that need each key, by key id and what for."""
        found: dict[str, dict[str, int]] = {}
        for what, statement in _COUNTS.items():
            for row in await self._execute(statement):
                found.setdefault(row.id, {})[what] = row.total
        return found

    async def wrong(self) -> list[str]:
        """Return the ids whose keys in the ring are not those that were used under them before."""
        proofs = [row for row in await self._execute(_PROOFS) if row.id in self._keys.ids]
        return sorted(row.id for row in proofs if not self._keys.proves(row.id, row.proof))

    async def encrypt_again(self) -> AsyncGenerator[int]:
        """Encrypt every secret with the first key that is not yet, in batches.

        Each batch is a transaction of its own, so that what was done before an interruption stays
        done. Rows that somebody else is changing are left as they are, for the next run.

        Yields:
            How many rows a batch had.

        Raises:
            EncryptionKeyMissing: A secret's key is not in the ring.
            DecryptionFailed: A secret does not decrypt; those before it are done.
            StateUnavailable: The state database cannot be reached.
        """
        for table in SECRETS:
            done = BATCH
            while done == BATCH:
                done = await self._batch(table)
                if done:
                    yield done

    async def _batch(self, table: Table) -> int:
        key = [column.name for column in table.primary_key]
        async with self._transaction() as execute:
            found = await execute(_OLD[table], {"first": self._keys.ids[0]})
            for row in found:
                values = {name: getattr(row, name) for name in key}
                place = (table.name, "secret", *map(str, values.values()))
                plaintext = self._keys.decrypt(row.secret_key_id, row.secret, place=place)
                key_id, sealed = self._keys.encrypt(plaintext, place=place)
                parameters = {f"key_{name}": value for name, value in values.items()}
                await execute(
                    _ENCRYPTED[table], parameters | {"new_secret": sealed, "new_key_id": key_id}
                )
        return len(found.rows)

    async def tagged_with_others(self) -> Sequence[InstanceKey]:
        """List the instances whose tags were not made with the first key."""
        found = await self._execute(_TAGGED_WITH_OTHERS, {"first": self._keys.ids[0]})
        return [InstanceKey(row.platform, row.instance_id) for row in found]
