"""Strict JSON: what is refused, what passes, and that nothing of it is repeated."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api.strict_json import MAX_DEPTH, MAX_INTEGER_DIGITS, parse_object

NUMBERS = st.integers(-(10**50), 10**50) | st.floats(allow_nan=False, allow_infinity=False)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
DOCUMENTS = st.dictionaries(
    TEXT,
    st.recursive(
        st.none() | st.booleans() | NUMBERS | TEXT,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
        max_leaves=12,
    ),
    max_size=5,
)


@given(DOCUMENTS, st.booleans())
def test_good_objects_pass_unchanged(document: dict[str, Any], ascii_only: bool) -> None:
    """Every JSON object comes out as it went in, escaped or not."""
    encoded = json.dumps(document, ensure_ascii=ascii_only).encode()
    assert parse_object(encoded) == document


@given(st.binary(max_size=200))
def test_bytes_are_an_object_or_refused(body: bytes) -> None:
    """Whatever bytes are sent, the answer is an object or a ``ValueError``."""
    with suppress(ValueError):
        assert isinstance(parse_object(body), dict)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b" ", "not JSON"),
        (b'{"canary": 1', "not JSON"),
        (b'{"canary": 1}x', "not JSON"),
        (b"{'canary': 1}", "not JSON"),
        (b'{"canary": 01}', "not JSON"),
        (b'{"canary": "\t"}', "not JSON"),
        (b'{"canary": "\\x"}', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'{"canary": 1, }', "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'"canary"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"12", "must be a JSON object"),
        (b'{"canary": "\xff"}', "not UTF-8"),
        (b'{"canary": "\xed\xa0\x80"}', "not UTF-8"),
        ('{"canary": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"canary": NaN}', "NaN"),
        (b'{"canary": [Infinity]}', "Infinity"),
        (b'{"canary": -Infinity}', "-Infinity"),
        (b'{"canary": 1e400}', "too large"),
        (b'{"canary": -1e400}', "too large"),
        (b'{"canary": 1' + b"0" * MAX_INTEGER_DIGITS + b"}", "digits"),
        (b'{"canary": 1' + b"0" * 100_000 + b"}", "digits"),
        (b'{"canary": "\\u0000"}', "NUL"),
        (b'{"canary\\u0000": 1}', "NUL"),
        (b'{"canary": [{"a": ["\\u0000"]}]}', "NUL"),
        (b'{"canary": "\\ud800"}', "surrogate"),
        (b'{"canary": "\\udc00\\ud800"}', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b'{"canary": 1, "canary": 1}', "same key twice"),
        (b'{"a": {"canary": 1, "canary": 2}}', "same key twice"),
        (b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", "too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too deeply"),
        (b"[" * 500_000, "too deeply"),
    ],
)
def test_everything_else_is_refused(body: bytes, reason: str) -> None:
    """Each kind of bad body is refused with its reason and without a word of its content."""
    with pytest.raises(ValueError, match=reason) as caught:
        parse_object(body)
    assert "canary" not in str(caught.value)


def test_the_limits_themselves_are_allowed() -> None:
    """Nesting and digits may go up to the limit."""
    depth = MAX_DEPTH - 2
    assert parse_object(b'{"a": ' + b"[" * depth + b"1" + b"]" * depth + b"}")
    digits = b"1" * MAX_INTEGER_DIGITS
    assert parse_object(b'{"a": %b}' % digits) == {"a": int(digits)}


def test_a_surrogate_pair_is_one_character() -> None:
    """Both halves together are a character like any other."""
    assert parse_object(b'{"a": "\\ud83d\\udc18"}') == {"a": "\U0001f418"}
