"""Showing a run while it goes on: a table that grows on a terminal, plain lines elsewhere."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Self

from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from broker.smoke.journal import Outcome, Step

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_MARKS = {
    Outcome.PASSED: ("✓", "green"),
    Outcome.FAILED: ("✗", "red"),
    Outcome.SKIPPED: ("-", "dim"),
}
_NAME_WIDTH = 34


class Silence(AbstractContextManager["Silence", None]):
    """Shows nothing: a program reads the result."""

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def changed(self, step: Step) -> None:
        """Say nothing."""


class Lines(AbstractContextManager["Lines", None]):
    """Prints a line for every step that has ended.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def __exit__(self, *_: object) -> None:
        """Everything has been printed."""

    def changed(self, step: Step) -> None:
        """Print a step once it has ended."""
        if step.outcome is not None:
            line = f"{step.outcome:<8}{step.name:<{_NAME_WIDTH}}{_time(step):>10}  {step.detail}"
            self._console.print(line.rstrip(), highlight=False, markup=False, soft_wrap=True)


class Screen(AbstractContextManager["Screen", None]):
    """Redraws a table, with a spinner at the step that is being done.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        self._steps: list[Step] = []
        self._spinner = Spinner("dots")
        self._live = Live(console=console, get_renderable=self._table, vertical_overflow="visible")
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        self._exit.enter_context(self._live)
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def changed(self, step: Step) -> None:
        """Draw again."""
        if step not in self._steps:
            self._steps.append(step)
        self._live.refresh()

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column()
        table.add_column(min_width=_NAME_WIDTH)
        table.add_column(justify="right")
        table.add_column(overflow="fold")
        for step in self._steps:
            mark: RenderableType = self._spinner
            style = ""
            if step.outcome is not None:
                sign, style = _MARKS[step.outcome]
                mark = Text(sign, style)
            shown = style if step.outcome is not Outcome.PASSED else "dim"
            table.add_row(mark, step.name, _time(step), Text(step.detail, shown))
        return table


def display_for(console: Console, *, quiet: bool) -> Silence | Lines | Screen:
    """Return what suits the place that is printed to."""
    if quiet:
        return Silence()
    return Screen(console) if console.is_terminal else Lines(console)


def milliseconds(seconds: float) -> str:
    """Format a time for people."""
    return f"{seconds * 1000:,.0f} ms"


def _time(step: Step) -> str:
    return milliseconds(step.seconds) if step.outcome in (Outcome.PASSED, Outcome.FAILED) else ""
