"""Who gets in."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api.authentication import Authenticator
from broker.domain.errors import Unauthorized

AUTHENTICATOR = Authenticator(
    [
        ("kubernetes", "kate", "first-password"),
        ("kubernetes", "kate", "second-password"),
        ("cloudfoundry", "carl", "pass:wörd"),
    ]
)


def _basic(credentials: bytes, scheme: bytes = b"Basic") -> bytes:
    return scheme + b" " + base64.b64encode(credentials)


GOOD = _basic(b"kate:first-password")


@pytest.mark.parametrize(
    ("header", "platform"),
    [
        (GOOD, "kubernetes"),
        (_basic(b"kate:second-password"), "kubernetes"),
        (_basic("carl:pass:wörd".encode()), "cloudfoundry"),
        (_basic(b"kate:first-password", b"basic"), "kubernetes"),
        (_basic(b"kate:first-password", b"BASIC"), "kubernetes"),
        (GOOD.replace(b" ", b"   "), "kubernetes"),
    ],
)
def test_each_password_leads_to_its_platform(header: bytes, platform: str) -> None:
    """Both passwords of a platform work, the scheme's case does not matter, UTF-8 does."""
    assert AUTHENTICATOR.authenticate(header) == platform


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b" ",
        b"Basic",
        b"Basic ",
        b"Basic !",
        b"Basic \xff\xfe",
        "Basic käse".encode(),
        b"Basic a2F0ZQ",  # no padding
        b"Basic a2F0ZQ==",  # no colon
        GOOD + b"=",
        GOOD[:-2],
        GOOD + b" " + GOOD,
        GOOD + b", " + GOOD,
        b"Bearer " + GOOD.partition(b" ")[2],
        b"Basic:" + GOOD.partition(b" ")[2],
        GOOD.partition(b" ")[2],
        _basic(b""),
        _basic(b":"),
        _basic(b"kate:"),
        _basic(b":first-password"),
        _basic(b"kate:First-password"),
        _basic(b"Kate:first-password"),
        _basic(b"kate:first-password "),
        _basic(b" kate:first-password"),
        _basic(b"kate:first-password\x00"),
        _basic(b"kate:first-password\n"),
        _basic(b"carl:first-password"),
        _basic("carl:pass:wörd".encode("latin-1")),
        _basic("carl:pass:wo\u0308rd".encode()),
        _basic(b"\xff\xfe:\x00"),
        _basic(b"x" * 100_000),
    ],
)
def test_everything_else_stays_out(header: bytes | None) -> None:
    """Every broken, truncated, doubled or merely wrong form is unauthorized, nothing else."""
    with pytest.raises(Unauthorized) as caught:
        AUTHENTICATOR.authenticate(header)
    assert caught.value.description


def test_a_wrong_user_and_a_wrong_password_look_the_same() -> None:
    """The refusal does not tell which users exist."""
    descriptions = set()
    for credentials in (b"kate:wrong", b"nobody:first-password", b"nobody:wrong"):
        with pytest.raises(Unauthorized) as caught:
            AUTHENTICATOR.authenticate(_basic(credentials))
        descriptions.add(caught.value.description)
    assert len(descriptions) == 1


@given(st.binary())
def test_arbitrary_bytes_stay_out(header: bytes) -> None:
    """No header but the right one gets in, and none breaks anything."""
    with pytest.raises(Unauthorized):
        AUTHENTICATOR.authenticate(header)


@given(st.binary())
def test_arbitrary_credentials_stay_out(credentials: bytes) -> None:
    """No credentials but the right ones get in."""
    with pytest.raises(Unauthorized):
        AUTHENTICATOR.authenticate(_basic(credentials))
