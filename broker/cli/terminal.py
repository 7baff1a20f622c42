"""What all commands share: where they print, tables, and how a failure becomes a message."""

import os
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import typer
import uvloop
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

if TYPE_CHECKING:
    from broker.config import LogLevel, Settings

_T = TypeVar("_T")

# Ids are the platforms', and may look like markup.
out = Console(markup=False)
err = Console(stderr=True, markup=False)

_WIDEST = 10_000
"""Columns of a pipe or a file."""


def run(work: Coroutine[object, object, _T], *, loop: Callable[..., _T] = uvloop.run) -> _T:
    """Run a command's work; a failure the operator can mend ends it with a message.

    Args:
        work: What to run.
        loop: Runs it to its end.
    """
    with explained():
        return loop(work)


@contextmanager
def explained() -> Iterator[None]:
    """Turn what an operator can mend into a message and an exit status of 1."""
    from broker.bootstrap.server import AddressUnavailable
    from broker.config import ConfigurationError
    from broker.domain.errors import BrokerError, StateUnavailable
    from broker.embedded import EmbeddedPostgresError

    try:
        yield
    except (AddressUnavailable, BrokerError, ConfigurationError, EmbeddedPostgresError) as exc:
        err.print(str(exc), style="red", highlight=False, soft_wrap=True)
        cause = exc.cause if isinstance(exc, BrokerError) else None
        if cause is not None:
            # The user of a platform is told to try again; whoever sits here can mend it.
            where = "PGBROKER_STATE_DSN leads to" if isinstance(exc, StateUnavailable) else "Cause"
            hint = f"{where}: {cause}"
            err.print(hint, highlight=False, soft_wrap=True)
            if isinstance(exc, StateUnavailable):
                made = "Its role and database are made by hand, once: see docs/configuration.md."
                err.print(made, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from exc


def read_settings(*, log_level: "LogLevel" = "warning") -> "Settings":
    """Read a command's settings; what it logs does not get between what it prints.

    Args:
        log_level: The least severe level that is worth reading beside what it prints.
    """
    from broker.config import load_settings

    log_beside(log_level)
    with explained():
        return load_settings(os.environ)


def log_beside(level: "LogLevel") -> None:
    """Have everything from this level on logged to standard error."""
    from broker.bootstrap.logs import configure_logging

    configure_logging(log_format="console", level=level)


def say(sentence: str) -> None:
    """Print a sentence on one line, whatever the width: ids and commands are there to be copied."""
    out.print(sentence, highlight=False, soft_wrap=True)


def show(table: Table) -> None:
    """Print a table so that nothing in it is cut: ids and commands are there to be copied.

    A row is a line. On a terminal that is too narrow for that, it is a paragraph with a line for
    each cell.
    """
    wide = Console(width=_WIDEST, highlight=False, markup=False)
    width = Measurement.get(wide, wide.options, table).maximum
    if out.is_terminal and width > out.width:
        _show_expanded(table)
    else:
        wide.print(table, crop=False)


def _show_expanded(table: Table) -> None:
    headings = [str(column.header) for column in table.columns]
    longest = max(map(len, headings))
    for row in zip(*(column.cells for column in table.columns), strict=True):
        for heading, cell in zip(headings, row, strict=True):
            if str(cell):
                name = f"{heading:<{longest}} "
                out.print(name, cell, sep="", highlight=False, soft_wrap=True)
        out.print()
