"""The platforms file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.config import ConfigurationError
from broker.config.platforms import load_platforms

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
platforms:
  - name: kubernetes
    username: k8s
    password: kubernetes-password
  - name: cloudfoundry
    username: cf
    password_file: cf.password
    next_password_file: cf.next
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a platforms file with the files it names."""
    (tmp_path / "cf.password").write_text("cloudfoundry-password\n")
    (tmp_path / "cf.next").write_text("cloudfoundry-next-password\n")
    path = tmp_path / "platforms.yaml"
    path.write_text(GOOD)
    return path


def test_every_platform_has_its_own_name_user_and_passwords(path: Path) -> None:
    """Passwords come from the file or from files beside it, two at most."""
    kubernetes, cloudfoundry = load_platforms(path)
    assert (kubernetes.name, kubernetes.username) == ("kubernetes", "k8s")
    assert [password.reveal() for password in kubernetes.passwords] == ["kubernetes-password"]
    assert [password.reveal() for password in cloudfoundry.passwords] == [
        "cloudfoundry-password",
        "cloudfoundry-next-password",
    ]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("name: cloudfoundry", "name: kubernetes", "5: another platform already has this name"),
        ("username: cf", "username: k8s", "6: another platform already has this username"),
        ("username: cf", "username: c:f", "6: username must not contain a colon"),
        ("password: kubernetes-password", "password: short", "4: password must have at least 12"),
        ("    password: kubernetes-password\n", "", "2: lacks password, or password_file"),
        ("cf.next", "cf.password", "8: next_password must differ from the password it will"),
        ("cf.next", "cf.none", "8: the file "),
        (
            "    password_file: cf.password\n",
            "    password_file: cf.password\n    password: cloudfoundry-passwd\n",
            "7: has both password and password_file; keep one of them.",
        ),
        ("username: cf", "username: ''", "6: platforms[1].username: must not be empty."),
        ("username: cf", "user: cf", "6: platforms[1] has no key 'user'. Did you mean"),
    ],
)
def test_a_mistake_names_its_line(path: Path, old: str, new: str, problem: str) -> None:
    """What is wrong with a platform is a problem with the line and the way out."""
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ConfigurationError) as refusal:
        load_platforms(path)
    found = [str(problem).replace(str(path), path.name) for problem in refusal.value.problems]
    assert any(line.startswith(f"platforms.yaml:{problem}") for line in found)


def test_the_mistakes_of_all_platforms_are_said_at_once(path: Path) -> None:
    """One wrong platform does not hide the next."""
    path.write_text(GOOD.replace("kubernetes-password", "short").replace("cf.next", "cf.none"))
    with pytest.raises(ConfigurationError) as refusal:
        load_platforms(path)
    assert [problem.where for problem in refusal.value.problems] == [f"{path}:4", f"{path}:8"]
