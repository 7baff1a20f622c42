"""What ``pgbroker dev`` prints can be typed as it is printed."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from broker.bootstrap.development import Address
from broker.cli import serving
from broker.domain.credentials import Secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Welcome = Callable[[Address], list[str]]

PLAIN = "Zq3vT8mK1xWc5nRb7yHs2dLg9pJf4aUe"
HOSTILE = "p@ss/w#rd?12$HOME&'x %41;`\"é"


@pytest.fixture
def welcome(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Welcome:
    """Return what runs ``pgbroker dev`` without a broker behind it, and returns what it prints."""

    def printed(address: Address) -> list[str]:
        async def start(*, started: Callable[[Address], None], **_: object) -> None:
            started(address)

        monkeypatch.setattr("broker.bootstrap.development.run", start)
        # The one it sets would stay for the tests that follow.
        monkeypatch.setattr("broker.bootstrap.logs.configure_logging", lambda **_: None)
        serving.dev(data_dir=tmp_path)
        return capsys.readouterr().out.splitlines()

    return printed


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
@pytest.mark.parametrize(
    ("username", "password"), [("admin", PLAIN), ("o'hara", HOSTILE), ("$(id)", "[red]*[/red]\\")]
)
def test_the_printed_commands_lead_to_the_broker(
    welcome: Welcome, host: str, username: str, password: str
) -> None:
    """A shell and a URL parser get back the very user name and password, of both commands."""
    base = f"http://{host}:8080"
    printed = welcome(Address(base, username, Secret(password), postgres_version=18))
    assert f"  Password  {password}" in printed
    (smoke,) = (shlex.split(line) for line in printed if " smoke " in line)
    (curl,) = (shlex.split(line) for line in printed if line.startswith("  curl "))
    for command, path in ((smoke, ""), (curl, "/v2/catalog")):
        url = urlsplit(command[-1])
        assert (unquote(url.username or ""), unquote(url.password or "")) == (username, password)
        assert f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}" == base + path
        assert not url.query + url.fragment


def test_the_program_is_named_as_it_was_called(
    welcome: Welcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that is not on the PATH is found again, in a directory with a space, too."""
    program = "/home/my own/.venv/bin/pgbroker"
    monkeypatch.setattr("sys.argv", [program, "dev"])
    address = Address("http://127.0.0.1:8080", "admin", Secret(PLAIN), postgres_version=18)
    (smoke,) = (line for line in welcome(address) if " smoke " in line)
    assert shlex.split(smoke)[:2] == [program, "smoke"]
