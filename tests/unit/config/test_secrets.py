"""Secrets in the environment: where they come from, and that they stay secret."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from broker.config import load_settings

from .examples import environment_problems, prefixed

if TYPE_CHECKING:
    from pathlib import Path


def test_a_secret_may_be_in_a_file(environ: dict[str, str], tmp_path: Path) -> None:
    """Each secret is read from the file that ``..._FILE`` names, without its line end."""
    expected = load_settings({**environ, "PGBROKER_PASSWORD_NEXT": "the-next-password"})
    environ["PGBROKER_PASSWORD_NEXT"] = "the-next-password"
    for name in ("STATE_DSN", "PASSWORD", "PASSWORD_NEXT", "ENCRYPTION_KEYS"):
        file = tmp_path / name
        file.write_text(environ.pop(f"PGBROKER_{name}") + "\r\n")
        environ[f"PGBROKER_{name}_FILE"] = str(file)
    assert load_settings(environ) == expected


def test_a_secret_in_both_forms_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    """A secret that is given twice has no obvious value."""
    (problem,) = environment_problems({**environ, "PGBROKER_PASSWORD_FILE": str(tmp_path / "p")})
    assert problem == (
        "PGBROKER_PASSWORD: is set, and so is PGBROKER_PASSWORD_FILE; keep one of them."
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read: no such file or directory."),
        (b"\n", "is empty."),
        (b"\xff\xfe", "is not UTF-8 text."),
        (b"x" * (4 * 1024 * 1024 + 1), "is larger than 4194304 bytes."),
    ],
)
def test_a_secret_file_that_is_of_no_use_is_named(
    environ: dict[str, str], tmp_path: Path, content: bytes | None, problem: str
) -> None:
    """A file without a secret in it is a problem with the variable and the file."""
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content)
    del environ["PGBROKER_PASSWORD"]
    (found,) = environment_problems({**environ, "PGBROKER_PASSWORD_FILE": str(file)})
    assert found == f"PGBROKER_PASSWORD_FILE: the file {file} {problem}"


def test_two_passwords_and_two_keys_are_valid_at_once(environ: dict[str, str]) -> None:
    """While they are rotated, both passwords are accepted, and the first key encrypts."""
    old = environ["PGBROKER_ENCRYPTION_KEYS"]
    # The URL-safe alphabet, and spaces and line ends between the entries, are fine, too.
    new = f"k2:{base64.urlsafe_b64encode(b'ab' + bytes([255, 254]) * 15).decode()}"
    environ |= prefixed(
        {"PASSWORD_NEXT": "the-next-password", "ENCRYPTION_KEYS": f"{new} ,\n{old}\n"}
    )
    settings = load_settings(environ)
    passwords = [password.reveal() for password in settings.platforms[0].passwords]
    assert passwords == ["a-long-password", "the-next-password"]
    assert [key.id for key in settings.encryption_keys] == ["k2", "k1"]
    assert settings.encryption_keys[0].key == b"ab" + bytes([255, 254]) * 15


def test_a_key_or_an_id_cannot_be_there_twice(environ: dict[str, str]) -> None:
    """Two entries with the same id or the same key are a mistake in a rotation."""
    entry = environ["PGBROKER_ENCRYPTION_KEYS"]
    for second, problem in (
        (entry, "has the id 'k1' twice"),
        (entry.replace("k1", "k2"), "has the same key under two ids, 'k2' is the second"),
    ):
        (found,) = environment_problems(
            {**environ, "PGBROKER_ENCRYPTION_KEYS": f"{entry},{second}"}
        )
        assert found.startswith(f"PGBROKER_ENCRYPTION_KEYS: {problem}")


def test_settings_give_no_secret_away(environ: dict[str, str]) -> None:
    """Neither ``repr`` nor ``str`` of settings shows a password, a connection string or a key."""
    settings = load_settings(environ)
    shown = f"{settings!r} {settings}"
    secrets = ("state-secret", "admin-secret", "a-long-password", "x02")
    assert [secret for secret in secrets if secret in shown] == []


def test_problems_give_no_secret_away(environ: dict[str, str]) -> None:
    """Whatever is wrong with a secret, the message does not repeat it."""
    canary = "canary-7f3a"
    key = "Y2FuYXJ5LTdmM2E"
    spoilt = {
        "STATE_DSN": [f"mysql://u:{canary}@h/d", f"postgresql://u:{canary} @h/d", canary],
        "PASSWORD": [canary, f"{canary}{canary}\n"],
        "PASSWORD_NEXT": [canary],
        "ENCRYPTION_KEYS": [key, f"k1:{key}", f"{key * 4}:k1", f"k1:{key * 4}", f"k1:{canary}"],
    }
    for name, values in spoilt.items():
        for value in values:
            shown = " ".join(environment_problems({**environ, f"PGBROKER_{name}": value}))
            assert canary not in shown
            assert key not in shown
