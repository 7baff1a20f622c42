"""Rotating encryption keys: which columns hold secrets and key ids, and moving them to a new key.

Belongs here: the one list of encrypted columns. Whatever else is kept encrypted gets a line in it,
and is then counted and encrypted again with the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, func, select, union, update

from broker.domain.instance import InstanceKey
from broker.store.errors import translated
from broker.store.tables import bindings, deleted_instances, instances, server_passwords

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from sqlalchemy import Column, Table
    from sqlalchemy.ext.asyncio import AsyncEngine

    from broker.store.encryption import KeyRing

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


USED_KEYS = union(*(select(use.key_id) for use in USES))
"""The ids of all keys that something needs."""


class KeyRecords:
    """What keys are used for, and moving it to the first of the ring.

    Args:
        engine: Connections to the state database.
        keys: The ring.
    """

    def __init__(self, engine: AsyncEngine, keys: KeyRing) -> None:
        self._engine = engine
        self._keys = keys

    async def uses(self) -> dict[str, dict[str, int]]:
        """Count the rows that need each key, by key id and what for."""
        found: dict[str, dict[str, int]] = {}
        with translated():
            async with self._engine.connect() as connection:
                for use in USES:
                    counted = select(use.key_id.label("id"), func.count().label("total"))
                    statement = counted.where(use.key_id.is_not(None)).group_by(use.key_id)
                    for row in await connection.execute(statement):
                        found.setdefault(row.id, {})[use.what] = row.total
        return found

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
        first = self._keys.ids[0]
        key = tuple(table.primary_key)
        old = (
            select(*key, table.c.secret, table.c.secret_key_id)
            .where(table.c.secret_key_id != first)
            .order_by(*key)
            .limit(BATCH)
            # To wait with some locked would deadlock with the deletion of an instance's.
            .with_for_update(skip_locked=True)
        )
        new = update(table).values(
            secret=bindparam("new_secret"), secret_key_id=bindparam("new_key_id")
        )
        for column in key:
            new = new.where(column == bindparam(f"key_{column.name}"))
        with translated():
            async with self._engine.begin() as connection:
                found = (await connection.execute(old)).all()
                for row in found:
                    values = [getattr(row, column.name) for column in key]
                    place = (table.name, "secret", *map(str, values))
                    plaintext = self._keys.decrypt(row.secret_key_id, row.secret, place=place)
                    key_id, sealed = self._keys.encrypt(plaintext, place=place)
                    parameters = {
                        f"key_{column.name}": value
                        for column, value in zip(key, values, strict=True)
                    }
                    await connection.execute(
                        new, parameters | {"new_secret": sealed, "new_key_id": key_id}
                    )
        return len(found)

    async def tagged_with_others(self) -> Sequence[InstanceKey]:
        """List the instances whose tags were not made with the first key."""
        statement = (
            select(instances.c.platform, instances.c.instance_id)
            .where(instances.c.tag_key_id != self._keys.ids[0])
            .order_by(instances.c.platform, instances.c.instance_id)
        )
        with translated():
            async with self._engine.connect() as connection:
                found = (await connection.execute(statement)).all()
        return [InstanceKey(row.platform, row.instance_id) for row in found]
