"""The headers of the protocol."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api.headers import (
    check_api_version,
    originating_identity,
    request_identity,
    single,
)
from broker.domain.errors import InvalidRequest, UnsupportedAPIVersion
from broker.domain.operation import OriginatingIdentity


def test_a_header_counts_when_it_is_there_once() -> None:
    """Two values of one header are no value: two readers might each choose another."""
    assert single([(b"a", b"1"), (b"b", b"2")], b"a") == b"1"
    assert single([(b"a", b"1"), (b"a", b"1")], b"a") is None
    assert single([], b"a") is None


@pytest.mark.parametrize("version", [b"2.17", b"2.0", b"2.13", b"2.99", b" 2.17 "])
def test_every_version_two_is_served(version: bytes) -> None:
    """Minor versions only add, so older and newer ones are served."""
    check_api_version(version)


@pytest.mark.parametrize("version", [b"1.0", b"1.17", b"3.0", b"0.2", b"20.17", b"9999.0"])
def test_other_major_versions_are_unsupported(version: bytes) -> None:
    """Another major version is refused with the one that is spoken."""
    with pytest.raises(UnsupportedAPIVersion, match=r"2\.17"):
        check_api_version(version)


@pytest.mark.parametrize(
    "version",
    [
        None, b"", b"2", b"2.", b".17", b"2.17.0", b"v2.17", b"2,17", b"02.17", b"2.017", b"-2.1",
        b"two", b"2.17a", b"\xff", b"\xd9\xa2.\xd9\xa1\xd9\xa7", b"2. 17",
        b"99999999999.0", b"2.1\n2.2",
    ],
)  # fmt: skip
def test_no_version_is_a_bad_request(version: bytes | None) -> None:
    """A missing or malformed version is refused, and is not taken for an unsupported one."""
    with pytest.raises(InvalidRequest, match="X-Broker-API-Version") as caught:
        check_api_version(version)
    assert type(caught.value) is InvalidRequest


@pytest.mark.parametrize("value", [b"a", b"d0d2e1f0-2f8c-4f6e-9d5b-3a5e", b"two words", b"x" * 256])
def test_a_fit_request_identity_is_kept(value: bytes) -> None:
    """Printable ASCII is kept as it is."""
    assert request_identity(value) == value.decode()


@pytest.mark.parametrize(
    "value", [None, b"", b" ", b" a", b"a\n", b"a\nb", b"a\x1b[31m", b"\xff", b"x" * 257, b"\x00"]
)
def test_an_unfit_request_identity_is_not_repeated(value: bytes | None) -> None:
    """What could forge a log line or a header gets an identity of our own instead."""
    assert request_identity(value) is None


def _encoded(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


def test_an_identity_is_decoded() -> None:
    """A platform, a space, and an object in Base64 of either alphabet, padded or not."""
    value = {"username": "jané?>", "groups": ["a"]}
    standard = _encoded(value)
    expected = OriginatingIdentity("kubernetes", value)
    assert {"+", "/"} & set(base64.b64encode(b"\xfb\xff").decode())
    for spelling in (
        standard,
        standard.rstrip("="),
        standard.replace("+", "-").replace("/", "_"),
        f" {standard} ",
    ):
        assert originating_identity(f"kubernetes {spelling}") == expected
    assert originating_identity(None) is None


@pytest.mark.parametrize(
    "value",
    [
        "",
        " ",
        "kubernetes",
        "kubernetes ",
        f" {_encoded({})}",
        _encoded({}),
        "kubernetes !!!",
        "kubernetes ä",
        "kubernetes e",
        f"kubernetes {_encoded([])}",
        f"kubernetes {_encoded('text')}",
        f"kubernetes {_encoded({'a': 1})} extra",
        "kubernetes " + base64.b64encode(b"{'a': 1}").decode(),
        "kubernetes " + base64.b64encode(b'{"a": "\xff"}').decode(),
        "kubernetes " + base64.b64encode(b'{"a": "\\u0000"}').decode(),
        "kubernetes " + base64.b64encode(b'{"a": NaN}').decode(),
    ],
)
def test_a_malformed_identity_is_refused(value: str) -> None:
    """What is no identity is a bad request, and nothing of it is repeated."""
    with pytest.raises(InvalidRequest, match="Originating-Identity") as caught:
        originating_identity(value)
    assert value.strip() in {"", "kubernetes"} or value not in caught.value.description


@given(st.text(st.characters(max_codepoint=255)))
def test_any_text_is_an_identity_or_refused(value: str) -> None:
    """Whatever a header can hold, the answer is an identity or a refusal."""
    with suppress(InvalidRequest):
        assert isinstance(originating_identity(value), OriginatingIdentity)
