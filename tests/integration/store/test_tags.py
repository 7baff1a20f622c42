"""Tags: the COMMENT on databases and roles, which every tenant can read."""

from __future__ import annotations

import base64
import secrets

import pytest

from broker.domain.instance import BindingKey, InstanceKey
from broker.store import EncryptedTags, KeyRing
from broker.store.errors import EncryptionKeyMissing

OLD = ("old", secrets.token_bytes(32))
NEW = ("new", secrets.token_bytes(32))
INSTANCE = InstanceKey("kubernetes", "0f3c")
BINDING = BindingKey(INSTANCE, "binding")


def test_a_tag_opens_to_what_it_was_made_for() -> None:
    """Instances and bindings come back from their tags."""
    tags = EncryptedTags(KeyRing([NEW, OLD]))
    assert tags.open(tags.instance(INSTANCE, "new")) == INSTANCE
    assert tags.open(tags.binding(BINDING, "new")) == BINDING


@pytest.mark.parametrize("ring", [[OLD], [NEW, OLD], [OLD, NEW]])
def test_the_same_thing_always_has_the_same_tag(ring: list[tuple[str, bytes]]) -> None:
    """Tags can be compared, across replicas, restarts and any order of old and new keys."""
    first, later = EncryptedTags(KeyRing([OLD])), EncryptedTags(KeyRing(ring))
    assert later.instance(INSTANCE, "old") == first.instance(INSTANCE, "old")
    assert later.binding(BINDING, "old") == first.binding(BINDING, "old")


def test_a_tag_of_a_missing_key_is_refused() -> None:
    """Without the key a tag was made with, no other tag is made in its place."""
    tags = EncryptedTags(KeyRing([NEW]))
    with pytest.raises(EncryptionKeyMissing, match="not configured: old"):
        tags.instance(INSTANCE, "old")
    with pytest.raises(EncryptionKeyMissing, match="not configured: old"):
        tags.binding(BINDING, "old")


def test_different_things_have_different_tags() -> None:
    """Neither another platform nor another id nor a binding shares a tag."""
    tags = EncryptedTags(KeyRing([NEW]))
    made = {
        tags.instance(INSTANCE, "new"),
        tags.instance(InstanceKey("cloudfoundry", "0f3c"), "new"),
        tags.instance(InstanceKey("kubernetes", "0f3d"), "new"),
        tags.binding(BINDING, "new"),
        tags.binding(BindingKey(INSTANCE, "other"), "new"),
    }
    assert len(made) == 5


def test_a_tag_tells_other_tenants_nothing() -> None:
    """Only the key's id can be read; platform and ids cannot, encoded or not."""
    tag = EncryptedTags(KeyRing([NEW])).binding(BINDING, "new")
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
    tag = EncryptedTags(KeyRing([("k", secrets.token_bytes(32))])).instance(INSTANCE, "k")
    assert EncryptedTags(KeyRing([("k", secrets.token_bytes(32))])).open(tag) is None
