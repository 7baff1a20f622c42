"""Looking at encryption keys and rotating them, for ``pgbroker keys``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from broker.bootstrap.fleet import key_ring, operated
from broker.domain.errors import BrokerError
from broker.service.retag import retag_deleted, retag_instance
from broker.store.tags import EncryptedTags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from broker.config import Settings


_BAD = {"missing", "wrong"}
"""Needed and not configured; another key than the one that was used under this id."""

UNFINISHED = "it is being created, changed or deleted; wait, and run this again."
"""Why the tags of an instance cannot be written anew."""


async def listed(settings: Settings) -> list[dict[str, Any]]:
    """Return every key that is configured or needed, and what for; never a key itself."""
    async with operated(settings) as (_, store):
        uses, wrong = await store.keys.uses(), await store.keys.wrong()
    configured = [key.id for key in settings.encryption_keys]
    missing = sorted(set(uses) - set(configured))
    return [
        {
            "id": key_id,
            "status": "wrong" if key_id in wrong else _status(key_id, configured),
            "uses": uses.get(key_id, {}),
            "removable": key_id in configured[1:] and key_id not in uses,
        }
        for key_id in [*configured, *missing]
    ]


def _status(key_id: str, configured: Sequence[str]) -> str:
    if key_id not in configured:
        return "missing"
    return "encrypts" if key_id == configured[0] else "decrypts"


async def rotated(settings: Settings, tell: Callable[[str], None]) -> int:
    """Move everything to the first key; what is done stays done when it is interrupted.

    Args:
        settings: Of the broker.
        tell: Shows a line of progress.

    Returns:
        How many things could not be moved; running it again tries them again.

    Raises:
        EncryptionKeyMissing: A key that something needs is not configured.
        StateUnavailable: The state database cannot be reached.
    """
    first = settings.encryption_keys[0].id
    tags = EncryptedTags(key_ring(settings))
    async with operated(settings) as (fleet, store):
        await store.verify_keys()
        done = 0
        async for count in store.keys.encrypt_again():
            done += count
            tell(f"secrets encrypted again: {done}")
        instances = await store.keys.tagged_with_others()
        deleted = [one for one in await store.deleted.listed() if one.instance.tag_key_id != first]
        left = 0
        moved = 0
        for key in instances:
            name = f"instance {key.instance_id} of {key.platform}"
            try:
                written = await retag_instance(store, fleet.servers, tags, key, key_id=first)
                name = name if written else f"{name}: {UNFINISHED}"
            except BrokerError as exc:
                written, name = False, f"{name}: {exc.description}"
            moved, left = moved + written, left + (not written)
            tell(f"tags written anew: {moved} of {len(instances)}" if written else f"left: {name}")
        for one in deleted:
            name = f"deleted instance {one.id}"
            try:
                written = await retag_deleted(store, fleet.servers, tags, one.id, key_id=first)
            except BrokerError as exc:
                written, name = False, f"{name}: {exc.description}"
            left += not written
            tell(f"tags written anew: {name}" if written else f"left: {name}")
        uses = await store.keys.uses()
    return max(left, sum(sum(use.values()) for key_id, use in uses.items() if key_id != first))


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    """Return a table with a line for each key."""
    table = Table("key", "status", "needed for", box=None, pad_edge=False)
    for row in rows:
        uses = ", ".join(f"{what}: {count}" for what, count in row["uses"].items())
        if row["removable"]:
            uses = "nothing; it can be removed from the configuration"
        status = Text(row["status"], "red" if row["status"] in _BAD else "")
        table.add_row(row["id"], status, uses)
    return table
