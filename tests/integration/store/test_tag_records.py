"""Records: what the COMMENT on owner and login roles says beyond whose they are."""

from __future__ import annotations

import base64
import secrets
from dataclasses import replace

import pytest

from broker.domain.instance import Status
from broker.store import EncryptedTags, KeyRing
from broker.store.errors import EncryptionKeyMissing
from tests.integration.store.records import a_binding, a_key, an_instance

OLD = ("old", secrets.token_bytes(32))
NEW = ("new", secrets.token_bytes(32))
TAGS = EncryptedTags(KeyRing([NEW, OLD]))
INSTANCE = replace(an_instance(tag_key_id="new"), status=Status.FAILED)
BINDING = replace(a_binding(INSTANCE.key), status=Status.FAILED)
TAG = TAGS.instance(INSTANCE.key, "new")
OWNER_COMMENT = f"{TAG} {TAGS.instance_record(INSTANCE)}"
LOGIN_TAG = TAGS.binding(BINDING.key, "new")
LOGIN_COMMENT = f"{LOGIN_TAG} {TAGS.binding_record(BINDING, 'new')}"


def test_an_instance_comes_back_whole() -> None:
    """Everything a platform may ask about is in the record, whatever its documents hold."""
    assert TAGS.recover_instance(OWNER_COMMENT, database=INSTANCE.database) == INSTANCE


def test_a_binding_comes_back_without_its_password() -> None:
    """Everything but the secret is in the record."""
    expected = replace(BINDING, secret=None)
    assert TAGS.recover_binding(LOGIN_COMMENT, login=BINDING.login) == expected


def test_the_same_instance_always_has_the_same_record() -> None:
    """Neither another replica nor another order of a document's keys makes a difference."""
    turned = dict(reversed(list(INSTANCE.parameters.items())))
    other = EncryptedTags(KeyRing([OLD, NEW]))
    again = other.instance_record(replace(INSTANCE, parameters=turned))
    assert again == TAGS.instance_record(INSTANCE)


def test_a_tag_with_a_record_is_still_that_tag() -> None:
    """Whoever only asks whose a role is gets the same answer with and without a record."""
    assert TAGS.open(OWNER_COMMENT) == TAGS.open(TAG) == INSTANCE.key
    assert TAGS.open(LOGIN_COMMENT) == TAGS.open(LOGIN_TAG) == BINDING.key


def test_a_tag_without_a_record_recovers_nothing() -> None:
    """Roles made by versions without records are known, but not what they belong to."""
    assert TAGS.recover_instance(TAG, database=INSTANCE.database) is None
    assert TAGS.recover_binding(LOGIN_TAG, login=BINDING.login) is None


@pytest.mark.parametrize(
    "comment",
    [
        f"{TAGS.instance(a_key(), 'new')} {TAGS.instance_record(INSTANCE)}",
        f"{TAG} {TAGS.binding_record(BINDING, 'new')}",
        f"{LOGIN_TAG} {TAGS.binding_record(BINDING, 'new')}",
        f"{TAG} record:",
        f"{TAG} record:not base64!",
        f"{TAG} {TAGS.instance_record(INSTANCE).removeprefix('record:')}",
        TAGS.instance_record(INSTANCE),
        "default administrative connection database",
    ],
)
def test_a_record_is_believed_in_its_place_only(comment: str) -> None:
    """A record moved to another role's comment, or altered, is none."""
    assert TAGS.recover_instance(comment, database=INSTANCE.database) is None


def test_a_record_tells_other_tenants_nothing() -> None:
    """Neither ids nor parameters nor passwords can be read, encoded or not."""
    assert BINDING.secret is not None
    sealed = b"".join(
        base64.b64decode(comment.rpartition(":")[2]) for comment in (OWNER_COMMENT, LOGIN_COMMENT)
    )
    for text in ("kubernetes", "plan", "default", BINDING.secret.password.reveal(), "record"):
        assert text.encode() not in sealed


def test_a_missing_key_is_named() -> None:
    """Comments of a key that is not configured do not open, and say which key it is."""
    tags = EncryptedTags(KeyRing([OLD]))
    assert tags.recover_instance(OWNER_COMMENT, database=INSTANCE.database) is None
    assert tags.missing_key(OWNER_COMMENT) == "new"
    assert tags.missing_key("somebody's comment") is None
    assert TAGS.missing_key(OWNER_COMMENT) is None
    with pytest.raises(EncryptionKeyMissing, match="not configured: new"):
        tags.instance_record(INSTANCE)
