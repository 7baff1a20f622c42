"""A store on a state database of each test's own."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from broker.store import KeyRing, PostgresStore
from tests.support.state import ascii_dsn, empty_dsn, migrated_template, state_dsn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["ascii_dsn", "empty_dsn", "migrated_template", "state_dsn"]


@pytest.fixture
def keys() -> KeyRing:
    """Return a ring of one key."""
    return KeyRing([("k1", secrets.token_bytes(32))])


@pytest.fixture
async def store(state_dsn: str, keys: KeyRing) -> AsyncIterator[PostgresStore]:
    """Return a store."""
    store = PostgresStore(state_dsn, keys)
    yield store
    await store.close()
