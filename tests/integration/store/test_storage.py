"""Records of what databases occupy."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from broker.domain.storage import StorageUse
from tests.integration.store.records import an_instance, record

if TYPE_CHECKING:
    from broker.store import PostgresStore

NOW = datetime.now(UTC)


async def test_an_instance_that_is_being_deleted_keeps_no_other_from_being_measured(
    store: PostgresStore,
) -> None:
    """Sizes are recorded without waiting for it, and without it."""
    kept, removed = an_instance(), an_instance()
    await record(store, kept, removed)
    async with store.transaction() as state:
        await state.remove_instance(removed.key)
        await store.storage.record("alpha", {kept.database: 1, removed.database: 2}, NOW)
        assert await store.storage.of(kept.key) == StorageUse(1, NOW, None)
    assert await store.storage.of(removed.key) is None
