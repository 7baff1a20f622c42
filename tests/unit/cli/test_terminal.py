"""How commands print: nothing that is there to be copied is ever cut."""

from __future__ import annotations

import pytest
from rich.console import Console
from rich.table import Table
from rich.text import Text

from broker.cli import terminal

ID = "e9497b3f-5a65-4875-a2c9-2f1d0c9b2100"
ADVICE = (
    "Nobody knows this database. Recover it with `pgbroker recover --from-servers`, or drop it."
)


@pytest.fixture
def table() -> Table:
    """Return a table that is wider than most terminals."""
    table = Table("server", "instance", "", "detail", box=None, pad_edge=False)
    table.add_row("main", ID, Text("alarm", "yellow"), ADVICE)
    table.add_row("other", "", Text("ok"), "")
    return table


def test_elsewhere_a_row_is_a_line(table: Table, capsys: pytest.CaptureFixture[str]) -> None:
    """In a pipe or a pod's log, each row can be searched for, and is whole."""
    terminal.show(table)
    heading, first, second = (line.split() for line in capsys.readouterr().out.splitlines())
    assert heading == ["server", "instance", "detail"]
    assert first == ["main", ID, "alarm", *ADVICE.split()]
    assert second == ["other", "ok"]


def test_a_narrow_terminal_gets_paragraphs(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit side by side is put below each other, and broken by the terminal only."""
    console = Console(force_terminal=True, color_system=None, width=80)
    monkeypatch.setattr(terminal, "out", console)
    with console.capture() as captured:
        terminal.show(table)
    assert captured.get().splitlines() == [
        "server   main",
        f"instance {ID}",
        "         alarm",
        f"detail   {ADVICE}",
        "",
        "server   other",
        "         ok",
        "",
    ]


def test_what_looks_like_markup_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Platforms may choose any ids, and those are copied from tables."""
    odd = "my[red]id[/]"
    table = Table("instance", box=None, pad_edge=False)
    table.add_row(odd)
    terminal.show(table)
    terminal.say(odd)
    assert capsys.readouterr().out.splitlines()[1:] == [odd, odd]
