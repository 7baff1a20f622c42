"""Secrets at rest: encrypted, bound to their row, and lost together with their key."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from broker.domain.credentials import generate_login_secret
from broker.store import KeyRing, PostgresStore
from broker.store.errors import (
    DecryptionFailed,
    EncryptionKeyMissing,
    EncryptionKeyWrong,
    InvalidKeyRing,
)
from tests.integration.store.observe import query
from tests.integration.store.records import (
    a_binding,
    an_instance,
    an_operation,
    record,
    remove_binding,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from broker.domain.instance import Binding

    Open = Callable[[Sequence[tuple[str, bytes]]], PostgresStore]


OLD = ("old", secrets.token_bytes(32))
NEW = ("new", secrets.token_bytes(32))


@pytest.fixture
async def with_keys(state_dsn: str) -> AsyncIterator[Open]:
    """Return a function that opens a store on this test's state database with some keys."""
    opened: list[PostgresStore] = []

    def open_store(keys: Sequence[tuple[str, bytes]]) -> PostgresStore:
        opened.append(PostgresStore(state_dsn, KeyRing(keys)))
        return opened[-1]

    yield open_store
    for store in opened:
        await store.close()


async def _bound(
    store: PostgresStore, binding_id: str = "binding", *, tag_key_id: str = "k1"
) -> Binding:
    instance = an_instance(tag_key_id=tag_key_id)
    binding = a_binding(instance.key, binding_id)
    await record(store, instance, binding)
    return binding


async def test_no_secret_is_stored_in_clear(store: PostgresStore, state_dsn: str) -> None:
    """Neither password nor verifier can be found in any row of any table of the database."""
    binding = await _bound(store)
    await record(store, an_operation(binding.key.instance, binding.key.binding_id))
    await store.verify_keys()
    tables = await query(
        state_dsn, "SELECT table_name FROM information_schema.tables WHERE table_schema='pgbroker'"
    )
    dump = ""
    for (table,) in tables:
        ((xml,),) = await query(
            state_dsn,
            "SELECT table_to_xml(format('pgbroker.%%I', %s::text)::regclass, true, false, '')",
            table,
        )
        dump += xml
    assert binding.login in dump
    assert binding.secret is not None
    for secret in (binding.secret.password, binding.secret.verifier):
        assert secret.reveal() not in dump
        assert secret.reveal().encode().hex() not in dump


async def test_a_lost_password_is_stored_as_such(store: PostgresStore) -> None:
    """A recovered binding has no secret, until it gets a new one."""
    binding = replace(await _bound(store), secret=None)
    async with store.transaction() as state:
        await state.set_binding_secret(binding)
    assert await store.binding(binding.key) == binding
    renewed = replace(binding, secret=generate_login_secret())
    async with store.transaction() as state:
        await state.set_binding_secret(renewed)
    assert await store.binding(binding.key) == renewed


async def test_the_same_secret_is_never_encrypted_alike(
    store: PostgresStore, state_dsn: str
) -> None:
    """Each write draws a fresh nonce, so equal ciphertexts betray nothing."""
    binding = await _bound(store)
    async with store.transaction() as state:
        await remove_binding(state, binding.key)
        before = await query(state_dsn, "SELECT secret FROM pgbroker.bindings")
        await state.add_binding(binding)
    assert await query(state_dsn, "SELECT secret FROM pgbroker.bindings") != before
    found = await store.binding(binding.key)
    assert found is not None
    assert found.secret == binding.secret


async def test_an_altered_ciphertext_is_refused(store: PostgresStore, state_dsn: str) -> None:
    """One changed bit anywhere is noticed, and the error names the place but no secret."""
    binding = await _bound(store)
    ((length,),) = await query(state_dsn, "SELECT length(secret) FROM pgbroker.bindings")
    flip = "UPDATE pgbroker.bindings SET secret = set_byte(secret, %s, get_byte(secret, %s) # 1)"
    for position in (0, 11, 12, length - 1):
        await query(state_dsn, flip, position, position)
        with pytest.raises(DecryptionFailed, match=r"bindings\.secret .* 'k1'"):
            await store.binding(binding.key)
        await query(state_dsn, flip, position, position)
    assert await store.binding(binding.key) == binding


async def test_a_truncated_ciphertext_is_refused(store: PostgresStore, state_dsn: str) -> None:
    """A ciphertext too short to be one is an error of its own kind, too."""
    binding = await _bound(store)
    await query(state_dsn, "UPDATE pgbroker.bindings SET secret = substr(secret, 1, 5)")
    with pytest.raises(DecryptionFailed):
        await store.binding(binding.key)


async def test_a_ciphertext_moved_to_another_row_is_refused(
    store: PostgresStore, state_dsn: str
) -> None:
    """Whoever can write to the database cannot make one binding show another one's password."""
    one, two = await _bound(store, "one"), await _bound(store, "two")
    await query(
        state_dsn,
        "UPDATE pgbroker.bindings b SET secret = o.secret FROM pgbroker.bindings o"
        " WHERE b.binding_id = 'two' AND o.binding_id = 'one'",
    )
    assert await store.binding(one.key) == one
    with pytest.raises(DecryptionFailed):
        await store.binding(two.key)


async def test_the_first_key_encrypts_and_every_key_decrypts(
    with_keys: Open, state_dsn: str
) -> None:
    """A key is replaced by putting a new one in front: it encrypts from then on."""
    binding = await _bound(with_keys([OLD]), tag_key_id="old")
    both = with_keys([NEW, OLD])
    await both.verify_keys()
    assert await both.binding(binding.key) == binding
    async with both.transaction() as state:
        await remove_binding(state, binding.key)
        await state.add_binding(binding)
    assert await query(state_dsn, "SELECT secret_key_id FROM pgbroker.bindings") == [("new",)]
    assert await both.binding(binding.key) == binding


@pytest.mark.parametrize("what", ["instance", "binding"])
async def test_a_missing_key_is_named_at_the_start(
    with_keys: Open, state_dsn: str, what: str
) -> None:
    """Neither the key of a stored secret nor that of a database's tag may be left out."""
    before = with_keys([OLD])
    binding = await _bound(before, tag_key_id="old")
    if what == "instance":
        async with before.transaction() as state:
            await remove_binding(state, binding.key)
    else:
        await query(state_dsn, "UPDATE pgbroker.instances SET tag_key_id = 'new'")
    after = with_keys([NEW])
    with pytest.raises(EncryptionKeyMissing, match="not configured: old"):
        await after.verify_keys()


async def test_a_secret_whose_key_is_missing_is_not_shown(with_keys: Open) -> None:
    """Without the start's check, too, the error says which key is missing."""
    binding = await _bound(with_keys([OLD]), tag_key_id="old")
    with pytest.raises(EncryptionKeyMissing, match="not configured: old"):
        await with_keys([NEW]).binding(binding.key)


async def test_another_key_under_the_same_id_is_noticed(with_keys: Open) -> None:
    """The start refuses a key that was swapped, even before anything was encrypted with it."""
    await with_keys([OLD]).verify_keys()
    await with_keys([NEW, OLD]).verify_keys()
    swapped = with_keys([NEW, ("old", secrets.token_bytes(32))])
    with pytest.raises(EncryptionKeyWrong, match="same ids: old"):
        await swapped.verify_keys()
    await with_keys([OLD]).verify_keys()


async def test_a_secret_under_a_swapped_key_is_refused(with_keys: Open) -> None:
    """A wrong key never yields a wrong password."""
    binding = await _bound(with_keys([OLD]), tag_key_id="old")
    with pytest.raises(DecryptionFailed):
        await with_keys([("old", secrets.token_bytes(32))]).binding(binding.key)


async def test_the_ciphertext_goes_with_its_binding(store: PostgresStore, state_dsn: str) -> None:
    """After an unbind, and after a deprovision, no secret is left."""
    one, two = await _bound(store, "one"), await _bound(store, "two")
    async with store.transaction() as state:
        await remove_binding(state, one.key)
        await state.remove_instance(two.key.instance)
    assert await query(state_dsn, "SELECT count(*) FROM pgbroker.bindings") == [(0,)]


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ([], "at least one"),
        ([("k", b"short")], "'k' has 5 bytes; it must have 32"),
        ([("a:b", bytes(32))], "'a:b' is malformed"),
        ([("", bytes(32))], "'' is malformed"),
        ([("k" * 65, bytes(32))], "is malformed"),
        ([("k", bytes(32)), ("k", bytes([1] * 32))], "twice"),
    ],
)
def test_a_malformed_ring_is_refused(keys: list[tuple[str, bytes]], reason: str) -> None:
    """The message says which key is wrong and how, without showing it."""
    with pytest.raises(InvalidKeyRing, match=reason):
        KeyRing(keys)


def test_a_ring_does_not_show_its_keys() -> None:
    """Its representation has the ids only."""
    assert repr(KeyRing([NEW, OLD])) == "KeyRing(new, old)"


def test_a_key_serves_each_purpose_apart() -> None:
    """What encrypts rows is unrelated to what makes tags, and to the configured key."""
    ring = KeyRing([NEW, OLD])
    derived = {ring.derive(id_, purpose, 32) for id_ in ("new", "old") for purpose in ("a", "b")}
    assert len(derived | {NEW[1], OLD[1]}) == 6


def test_a_place_cannot_be_forged_by_an_identifier() -> None:
    """Identifiers that read alike when joined are different places."""
    ring = KeyRing([NEW])
    key_id, sealed = ring.encrypt(b"secret", place=("bindings", "secret", "a", "b.c"))
    for place in (("bindings", "secret", "a.b", "c"), ("bindings", "secret", 'a","b', "c")):
        with pytest.raises(DecryptionFailed):
            ring.decrypt(key_id, sealed, place=place)
