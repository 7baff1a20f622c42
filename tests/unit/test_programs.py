"""Where the Kubernetes tests get the programs of the control plane from, without building any."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e.cluster import programs
from tests.e2e.cluster.programs import CACHE, GIVEN, ProgramsMissingError, find_programs

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [name for packages in programs.PACKAGES.values() for name in packages]


@pytest.fixture(autouse=True)
def without_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let there be no Go and no cache."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(programs, "_INSTALLED", str(tmp_path / "nowhere"))
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    monkeypatch.delenv(GIVEN, raising=False)


def give(folder: Path, *names: str) -> None:
    """Put programs into a folder."""
    folder.mkdir()
    for name in names:
        (folder / name).touch(0o755)


def test_without_go_it_is_said_what_to_install() -> None:
    """The message names the programs, the version of Go, and the other way."""
    with pytest.raises(ProgramsMissingError) as missing:
        find_programs()
    for part in ("kube-apiserver", "Install Go 1.26", GIVEN):
        assert part in str(missing.value)


def test_given_programs_are_used_as_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where all are given, nothing is built."""
    give(tmp_path / "assets", *NAMES)
    monkeypatch.setenv(GIVEN, str(tmp_path / "assets"))
    assert find_programs() == {name: tmp_path / "assets" / name for name in NAMES}


def test_only_what_is_not_given_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folder of envtest has three of them; the message asks for the others."""
    give(tmp_path / "assets", "etcd", "kube-apiserver", "kubectl")
    monkeypatch.setenv(GIVEN, str(tmp_path / "assets"))
    with pytest.raises(ProgramsMissingError) as missing:
        find_programs()
    asked = str(missing.value).partition(" have to be built")[0]
    assert "kube-controller-manager" in asked
    assert "kube-apiserver" not in asked


def test_an_old_go_is_told_from_a_broken_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who has a Go that is too old is told so, and not shown what it makes of the modules."""
    installed = tmp_path / "bin"
    installed.mkdir()
    go = installed / "go"
    go.write_text(
        "#!/bin/sh\n[ $1 = env ] && echo go1.21.5 || { echo 'module requires Go'; exit 1; }\n"
    )
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(installed))
    with pytest.raises(ProgramsMissingError) as missing:
        find_programs()
    for part in (str(go), "is Go 1.21", "Install Go 1.26", GIVEN):
        assert part in str(missing.value)
    assert "module requires" not in str(missing.value)
