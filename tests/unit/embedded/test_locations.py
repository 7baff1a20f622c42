"""Where the embedded PostgreSQL keeps its data, whoever starts it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from broker.embedded import EmbeddedPostgresError, default_cache_directory, default_data_directory

if TYPE_CHECKING:
    from pathlib import Path

_NO_ACCOUNT = 2**31 - 2


@pytest.fixture
def ordinary_user(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let the code see a user id without an account, and none of the variables it looks at."""
    monkeypatch.setattr(os, "geteuid", lambda: _NO_ACCOUNT)
    for variable in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    return monkeypatch


def test_an_ordinary_user_keeps_it_at_home(
    ordinary_user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without XDG variables, the defaults of the XDG specification count."""
    ordinary_user.setenv("HOME", str(tmp_path))
    assert default_data_directory() == tmp_path / ".local/share/pgbroker"
    assert default_cache_directory() == tmp_path / ".cache/pgbroker"


def test_xdg_variables_count_when_they_are_absolute(
    ordinary_user: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A relative path in an XDG variable is ignored, as the specification says."""
    ordinary_user.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    ordinary_user.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    ordinary_user.setenv("XDG_CACHE_HOME", "cache")
    assert default_data_directory() == tmp_path / "data/pgbroker"
    assert default_cache_directory() == tmp_path / "home/.cache/pgbroker"


@pytest.mark.parametrize("home", ["", "/does/not/exist"])
def test_somebody_without_a_home_is_told_what_to_set(
    ordinary_user: pytest.MonkeyPatch, home: str
) -> None:
    """An empty HOME is not the root directory, and a missing one is named with its remedy."""
    ordinary_user.setenv("HOME", home)
    with pytest.raises(EmbeddedPostgresError, match=r"Set (XDG_DATA_HOME|HOME) to"):
        default_data_directory()


def test_root_keeps_it_where_other_users_can_get(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Under root the server runs as somebody else, who cannot enter root's home directory."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_data_directory().is_relative_to("/var/lib")
    assert default_cache_directory().is_relative_to("/var/cache")
