"""Tags: the COMMENT on databases and roles, which every tenant can read."""

from __future__ import annotations

import base64
import secrets

import pytest

from broker.domain.instance import BindingKey, InstanceKey
from broker.store import EncryptedTags, KeyRing

OLD = ("old", secrets.token_bytes(32))
NEW = ("new", secrets.token_bytes(32))
INSTANCE = InstanceKey("kubernetes", "0f3c")
BINDING = BindingKey(INSTANCE, "binding")


def test_a_tag_opens_to_what_it_was_made_for() -> None:
    """Instances and bindings come back from their tags."""
    tags = EncryptedTags(KeyRing([NEW, OLD]))
    assert tags.open(tags.instance(INSTANCE)) == INSTANCE
    assert tags.open(tags.binding(BINDING)) == BINDING


def test_the_same_thing_always_has_the_same_tag() -> None:
    """Tags can be compared, across replicas, restarts and the arrival of a new key."""
    before, after = EncryptedTags(KeyRing([OLD])), EncryptedTags(KeyRing([NEW, OLD]))
    assert before.instance(INSTANCE) == after.instance(INSTANCE)
    assert before.binding(BINDING) == after.binding(BINDING)


def test_different_things_have_different_tags() -> None:
    """Neither another platform nor another id nor a binding shares a tag."""
    tags = EncryptedTags(KeyRing([NEW]))
    made = {
        tags.instance(INSTANCE),
        tags.instance(InstanceKey("cloudfoundry", "0f3c")),
        tags.instance(InstanceKey("kubernetes", "0f3d")),
        tags.binding(BINDING),
        tags.binding(BindingKey(INSTANCE, "other")),
    }
    assert len(made) == 5


def test_a_tag_tells_other_tenants_nothing() -> None:
    """Only the key's id can be read; platform and ids cannot, encoded or not."""
    tag = EncryptedTags(KeyRing([NEW])).binding(BINDING)
    prefix, version, key_id, sealed = tag.split(":")
    assert (prefix, version, key_id) == ("pgbroker", "1", "new")
    for part in (b"kubernetes", b"0f3c", b"binding"):
        assert part not in base64.b64decode(sealed)


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "default administrative connection database",
        "pgbroker:1:",
        "pgbroker:1:new:",
        "pgbroker:1:new:AAAA",
        "pgbroker:1:new:not base64!",
        "pgbroker:1:new:\u00e4\u00f6\u00fc",
        "pgbroker:2:new:" + "A" * 64,
        "pgbroker:1:unknown:" + "A" * 64,
    ],
)
def test_a_foreign_comment_is_nobodys(comment: str) -> None:
    """Whatever somebody writes into a comment, it is not taken for ours."""
    assert EncryptedTags(KeyRing([NEW])).open(comment) is None


def test_a_tag_of_another_key_is_nobodys() -> None:
    """A tag made with another key under the same id does not open."""
    tag = EncryptedTags(KeyRing([("k", secrets.token_bytes(32))])).instance(INSTANCE)
    assert EncryptedTags(KeyRing([("k", secrets.token_bytes(32))])).open(tag) is None
