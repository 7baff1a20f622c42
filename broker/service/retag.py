"""Tags made with another key, so that an old one can be retired.

Each instance is changed while its record is locked and nothing is in progress on it. Its tags on
the server are changed first, in one transaction; whoever comes after a crash between that and the
record finds the new tags there, and records them. Until then they are nobody's for whoever deletes,
so what has failed is changed, too: it may have failed for that.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from broker.domain.database import Retagging, comment
from broker.domain.deleted import Stage
from broker.domain.errors import PermanentFailure, TemporaryFailure
from broker.domain.instance import Status
from broker.domain.names import retained_name
from broker.domain.warm import warm_key
from broker.service.specs import NO_LIMITS, database_spec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from broker.domain.deleted import DeletedInstance
    from broker.domain.instance import Binding, Instance, InstanceKey
    from broker.service.ports import DatabaseSession, Servers, Store, Tags

PATIENCE = 8.0
"""Seconds that the server may take. The state ends a session that is idle for 10 s in a
transaction, and the lock of the record with it."""


async def retag_instance(
    store: Store, servers: Servers, tags: Tags, key: InstanceKey, *, key_id: str
) -> bool:
    """Make the tags of an instance, its roles and its bindings with a key.

    Args:
        store: The state.
        servers: For the engine.
        tags: Makes them.
        key: The instance.
        key_id: The key.

    Returns:
        ``False`` when something is in progress on it, or it is not there any more.

    Raises:
        BrokerError: The state or the server is out of reach, or something is not the instance's, or
            not there.
    """
    async with store.transaction() as state:
        instance = await state.instance(key)
        if instance is None or await state.active_operations(key):
            return False
        retagging = _of_instance(tags, instance, await state.bindings(key), key_id)
        spec = database_spec(instance, NO_LIMITS, tags)
        stock_tag = tags.instance(warm_key(instance.database), instance.tag_key_id)

        async def write(session: DatabaseSession) -> None:
            await session.adopt_database(spec, stock_tag)
            await session.retag(retagging)

        try:
            await _exclusively(
                servers,
                instance.server,
                instance.database,
                write,
                still_locked=lambda: state.instance(key),
            )
        except PermanentFailure as exc:
            if instance.status is Status.READY:
                raise
            raise PermanentFailure(
                "Making or deleting it has failed, and not all of it is there. Delete it on its "
                "platform."
            ) from exc
        await state.set_tag_key(key, key_id)
    return True


async def retag_deleted(
    store: Store, servers: Servers, tags: Tags, deletion: UUID, *, key_id: str
) -> bool:
    """Make the tags of a deleted instance that is kept with a key; see ``retag_instance``."""
    async with store.transaction() as state:
        deleted = await state.deleted.lock(deletion)
        if deleted is None or deleted.stage not in {Stage.RETAINED, Stage.PURGING}:
            return False
        former = deleted.instance
        retagging = _of_deleted(tags, deleted, key_id)
        await _exclusively(
            servers,
            former.server,
            former.database,
            lambda session: session.retag(retagging),
            still_locked=lambda: state.deleted.lock(deletion),
        )
        await state.deleted.set_tag_key(deletion, key_id)
    return True


def _of_instance(tags: Tags, instance: Instance, bindings: list[Binding], key_id: str) -> Retagging:
    after = replace(instance, tag_key_id=key_id)
    new_tag = tags.instance(instance.key, key_id)
    return Retagging(
        database=instance.database,
        old_tag=tags.instance(instance.key, instance.tag_key_id),
        new_tag=new_tag,
        groups={
            instance.database: new_tag,
            instance.owner: comment(new_tag, tags.instance_record(after)),
        },
        logins={
            binding.login: (
                tags.binding(binding.key, instance.tag_key_id),
                comment(tags.binding(binding.key, key_id), tags.binding_record(binding, key_id)),
            )
            for binding in bindings
        },
    )


def _of_deleted(tags: Tags, deleted: DeletedInstance, key_id: str) -> Retagging:
    former = deleted.instance
    after = replace(deleted, instance=replace(former, tag_key_id=key_id))
    new_tag = tags.deleted(deleted.key, key_id)
    return Retagging(
        database=retained_name(former.database),
        old_tag=tags.deleted(deleted.key, former.tag_key_id),
        new_tag=new_tag,
        groups={
            former.database: new_tag,
            former.owner: comment(new_tag, tags.deleted_record(after)),
        },
        logins={},
    )


async def _exclusively(
    servers: Servers,
    server: str,
    database: str,
    write: Callable[[DatabaseSession], Awaitable[None]],
    *,
    still_locked: Callable[[], Awaitable[object]],
) -> None:
    async def confirm() -> None:
        # In the transaction that has locked the record: raises when that is over.
        await still_locked()

    try:
        async with asyncio.timeout(PATIENCE):
            await servers.engine(server).exclusively(database, write, confirm=confirm)
    except TimeoutError as exc:
        raise TemporaryFailure(
            f"The tags of database {database!r} on server {server!r} could not be written within "
            f"{PATIENCE:.0f} s. Run the command again."
        ) from exc
