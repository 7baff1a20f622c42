"""``python -m benchmarks``: measure, and print one table."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import contextmanager
from pathlib import Path  # noqa: TC003 -- typer looks at it when the program runs
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.machine import describe
from benchmarks.measure import Extent, measure
from benchmarks.place import place
from benchmarks.report import Report
from benchmarks.scale import Scale, measure_memory, measure_scale

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_LIMIT_SECONDS = 600
_SCALE_LIMIT_SECONDS = 2400
_STARTING = "starting PostgreSQL and the broker"


def main(
    *,
    quick: Annotated[bool, typer.Option(help="Half a minute, for a first look.")] = False,
    scale: Annotated[
        bool,
        typer.Option(help="Fill the state database and the server, and watch the memory, instead."),
    ] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write machine and table to this file.")
    ] = None,
) -> None:
    """Measure the broker against the same SQL by hand, on a durable PostgreSQL of its own."""
    console = Console()
    if scale:
        report = asyncio.run(_scaled(Scale.quick() if quick else Scale.full(), console))
    else:
        report = asyncio.run(_measured(Extent.quick() if quick else Extent.full(), console))
    for name, value in report.machine.items():
        console.print(f"{name:<12}{value}", highlight=False, soft_wrap=True)
    console.print()
    # As wide as the table is: a file or a pipe has no width to fit into.
    Console(width=None if console.is_terminal else 160).print(report.table())
    console.print()
    for verdict in report.verdicts():
        console.print(verdict, highlight=False, soft_wrap=True)
    if json_file is not None:
        json_file.write_text(json.dumps(report.document(), indent=2) + "\n", "utf-8")
    if markdown is not None:
        markdown.write_text(report.markdown(), "utf-8")


async def _measured(extent: Extent, console: Console) -> Report:
    with _progress(console, extent.parts) as doing:
        load_before = os.getloadavg()[0]
        async with asyncio.timeout(_LIMIT_SECONDS), place() as where:
            rows = await measure(where, extent, doing)
            return Report(describe(where.postgres_version, load_before=load_before), rows)


async def _scaled(scale: Scale, console: Console) -> Report:
    with _progress(console, scale.parts) as doing:
        load_before = os.getloadavg()[0]
        async with asyncio.timeout(_SCALE_LIMIT_SECONDS), place() as where:
            memory = await measure_memory(where, scale, doing)
            rows = await measure_scale(where, scale, doing)
            machine = describe(where.postgres_version, load_before=load_before)
            return Report(machine, rows, memory)


@contextmanager
def _progress(console: Console, parts: int) -> Iterator[Callable[[str], None]]:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task(_STARTING, total=parts)

        def doing(part: str) -> None:
            began = progress.tasks[0].description != _STARTING
            progress.update(task, description=part, advance=int(began))

        yield doing


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
