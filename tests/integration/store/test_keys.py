"""Moving secrets to a new key: in batches, each of which stays done."""

from __future__ import annotations

import secrets

from psycopg import AsyncConnection

from broker.domain.credentials import Secret
from broker.store import KeyRing, PostgresStore
from broker.store.keys import BATCH, USES
from broker.store.keys import SECRETS as ENCRYPTED
from broker.store.tables import metadata
from tests.integration.store.records import a_binding, an_instance, record

OLD = ("old", secrets.token_bytes(32))
NEW = ("new", secrets.token_bytes(32))
LOCK = "SELECT FROM pgbroker.bindings WHERE binding_id = %s FOR UPDATE"
SECRETS, PASSWORDS = "secrets of bindings", "passwords of servers"


async def test_an_interrupted_rotation_keeps_what_is_done(state_dsn: str) -> None:
    """Stopped after a batch, the next run does the rest; every secret is what it was."""
    old = PostgresStore(state_dsn, KeyRing([OLD]))
    instance = an_instance(tag_key_id="old")
    bindings = [a_binding(instance.key, f"binding {number}") for number in range(BATCH + 20)]
    await record(old, instance, *bindings)
    await old.admin_passwords.add_password("alpha", "pgbroker", 1, Secret("first"))
    await old.close()

    both = PostgresStore(state_dsn, KeyRing([NEW, OLD]))
    rotation = both.keys.encrypt_again()
    assert await anext(rotation) == BATCH
    await rotation.aclose()
    uses = await both.keys.uses()
    assert uses["new"] == {SECRETS: BATCH}
    assert uses["old"] == {SECRETS: 20, PASSWORDS: 1, "tags of instances": 1}
    assert [count async for count in both.keys.encrypt_again()] == [20, 1]
    assert (await both.keys.uses())["old"] == {"tags of instances": 1}
    assert [count async for count in both.keys.encrypt_again()] == []
    await both.close()

    new = PostgresStore(state_dsn, KeyRing([NEW]))
    for binding in bindings:
        found = await new.binding(binding.key)
        assert found is not None
        assert found.secret is not None
        assert binding.secret is not None
        assert found.secret.password.reveal() == binding.secret.password.reveal()
    await new.close()


async def test_who_changes_a_secret_is_not_waited_for(state_dsn: str) -> None:
    """What somebody has locked is left for the next run; everything else is moved."""
    old = PostgresStore(state_dsn, KeyRing([OLD]))
    instance = an_instance(tag_key_id="old")
    bindings = [a_binding(instance.key, f"binding {number}") for number in range(BATCH + 2)]
    await record(old, instance, *bindings)
    await old.close()

    both = PostgresStore(state_dsn, KeyRing([NEW, OLD]))
    async with await AsyncConnection.connect(state_dsn) as somebody:
        await somebody.execute(LOCK, ["binding 0"])
        assert [count async for count in both.keys.encrypt_again()] == [BATCH, 1]
        assert (await both.keys.uses())["old"][SECRETS] == 1
    assert [count async for count in both.keys.encrypt_again()] == [1]
    assert SECRETS not in (await both.keys.uses())["old"]
    await both.close()


def test_every_column_with_a_key_is_in_the_list() -> None:
    """Whatever table has the id of a key is counted, and moved when it has a secret."""
    named = {column for table in metadata.tables.values() for column in table.c}
    wanted = {column for column in named if column.name.endswith("key_id")}
    assert {use.key_id for use in USES} == wanted
    assert {column.table for column in wanted if column.name == "secret_key_id"} == set(ENCRYPTED)
