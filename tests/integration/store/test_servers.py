"""What the state knows about servers."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from broker.domain.credentials import Secret
from broker.domain.names import database_name, retained_name
from broker.domain.placement import Occupancy
from broker.store import KeyRing, PostgresStore
from broker.store.errors import EncryptionKeyMissing
from tests.integration.store.observe import query
from tests.integration.store.records import LEASE, an_instance, an_operation, record

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def other(state_dsn: str) -> AsyncIterator[PostgresStore]:
    """Return the store of another replica, with other encryption keys."""
    other = PostgresStore(state_dsn, KeyRing([("k2", secrets.token_bytes(32))]))
    yield other
    await other.close()


async def test_a_recent_count_grows_with_what_this_process_adds(
    store: PostgresStore, other: PostgresStore
) -> None:
    """Where no place is the last one, counting is rare; cordons and our own additions are seen."""
    async with store.transaction() as state:
        assert await state.occupancy(exclusively=False) == Occupancy()
    await record(other, an_instance(server="beta"))
    await other.servers.cordon("beta", None)
    await record(store, an_instance(server="alpha"))
    async with store.transaction() as state:
        recent = await state.occupancy(exclusively=False)
        assert [placed.server for placed in recent.placed] == ["alpha"]
        assert recent.cordoned == {"beta"}
        exact = await state.occupancy(exclusively=True)
    assert {placed.server for placed in exact.placed} == {"alpha", "beta"}


async def test_sizes_are_added_up_by_server(store: PostgresStore) -> None:
    """Placement learns what all databases occupied, with those kept or warm, without others'."""
    one, two, three = (an_instance(server=name) for name in ("alpha", "alpha", "beta"))
    await record(store, one, two, three)
    now = datetime.now(UTC)
    await store.storage.record("alpha", {one.database: 10, two.database: 2**40}, now)
    kept, warm = retained_name(database_name()), database_name()
    sizes = {three.database: 7, kept: 20, warm: 300, "pgbroker": 8}
    await store.storage.record("beta", sizes, now)
    assert await store.servers.measured() == {"alpha": 2**40 + 10, "beta": 327}
    await store.storage.record("beta", {}, now)
    assert await store.servers.measured() == {"alpha": 2**40 + 10, "beta": 0}


async def test_a_cordon_is_kept_until_it_is_lifted(store: PostgresStore) -> None:
    """A second cordon changes the reason only; lifting one that is not there says so."""
    await store.servers.cordon("alpha", "old disks")
    first = (await store.servers.cordons())["alpha"]
    await store.servers.cordon("alpha", "new disks")
    second = (await store.servers.cordons())["alpha"]
    assert (first.reason, second.reason) == ("old disks", "new disks")
    assert first.since == second.since
    assert await store.servers.uncordon("alpha")
    assert not await store.servers.uncordon("alpha")
    assert await store.servers.cordons() == {}


async def test_a_recorded_password_is_encrypted(
    store: PostgresStore, other: PostgresStore, state_dsn: str
) -> None:
    """It comes back as it was, only with its key, and the table shows nothing of it."""
    await store.admin_passwords.add_password("alpha", "pgbroker", 1, Secret("canary-password"))
    (recorded,) = await store.admin_passwords.passwords("alpha", "pgbroker")
    assert (recorded.secret, recorded.confirmed) == (Secret("canary-password"), False)
    (row,) = await query(state_dsn, "SELECT secret FROM pgbroker.server_passwords")
    assert b"canary" not in bytes(row[0])
    with pytest.raises(EncryptionKeyMissing):
        await other.admin_passwords.passwords("alpha", "pgbroker")
    with pytest.raises(EncryptionKeyMissing, match="k1"):
        await other.verify_keys()


async def test_confirming_a_password_forgets_all_others(store: PostgresStore) -> None:
    """What another server or role has stays."""
    for server, version in (("alpha", 1), ("alpha", 2), ("alpha", 3), ("beta", 1)):
        await store.admin_passwords.add_password(server, "pgbroker", version, Secret(f"p{version}"))
    await store.admin_passwords.forget_password("alpha", "pgbroker", 3)
    newest, oldest = await store.admin_passwords.passwords("alpha", "pgbroker")
    assert (newest.version, oldest.version) == (2, 1)
    await store.admin_passwords.confirm_password("alpha", "pgbroker", 2)
    (kept,) = await store.admin_passwords.passwords("alpha", "pgbroker")
    assert (kept.version, kept.confirmed) == (2, True)
    assert len(await store.admin_passwords.passwords("beta", "pgbroker")) == 1


async def test_what_is_recorded_unseen_heeds_cordons_and_ids(store: PostgresStore) -> None:
    """Without a look before, nothing is put on a cordoned server, and no instance over another."""
    instance = an_instance()
    operation = an_operation(instance.key)
    await store.servers.cordon(instance.server, None)
    assert not await store.record_new(operation, instance, lease=LEASE)
    assert await store.instance(instance.key) is None
    assert await store.operation(operation.id) is None
    await store.servers.uncordon(instance.server)
    assert await store.record_new(operation, instance, lease=LEASE)
    other = an_instance(instance.key)
    assert not await store.record_new(an_operation(instance.key), other, lease=LEASE)
    assert await store.instance(instance.key) == instance
    assert await store.operation(operation.id) == operation


async def test_a_rotation_that_stood_still_forgets_nothing_newer(store: PostgresStore) -> None:
    """Confirming what another rotation has replaced meanwhile changes nothing, and says so."""
    records = store.admin_passwords
    assert await records.add_password("alpha", "pgbroker", 2, Secret("second"))
    assert await records.add_password("alpha", "pgbroker", 3, Secret("third"))
    assert not await records.add_password("alpha", "pgbroker", 3, Secret("another third"))
    assert await records.confirm_password("alpha", "pgbroker", 3)
    assert not await records.confirm_password("alpha", "pgbroker", 2)
    (left,) = await records.passwords("alpha", "pgbroker")
    assert (left.version, left.secret.reveal(), left.confirmed) == (3, "third", True)
