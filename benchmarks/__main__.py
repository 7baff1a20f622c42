"""``python -m benchmarks``: measure, and print one table."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path  # noqa: TC003 -- typer looks at it when the program runs
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.machine import describe
from benchmarks.measure import Extent, measure
from benchmarks.place import place
from benchmarks.report import Report

_LIMIT_SECONDS = 600


def main(
    *,
    quick: Annotated[bool, typer.Option(help="Half a minute, for a first look.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures to this file.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(help="Write machine and table to this file.")
    ] = None,
) -> None:
    """Measure the broker against the same SQL by hand, on a durable PostgreSQL of its own."""
    console = Console()
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
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("starting PostgreSQL and the broker", total=extent.parts)

        def doing(part: str) -> None:
            began = progress.tasks[0].description != "starting PostgreSQL and the broker"
            progress.update(task, description=part, advance=int(began))

        load_before = os.getloadavg()[0]
        async with asyncio.timeout(_LIMIT_SECONDS), place() as where:
            rows = await measure(where, extent, doing)
            return Report(describe(where.postgres_version, load_before=load_before), rows)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(main)
    app()
