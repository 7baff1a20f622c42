"""The table: on a terminal, in Markdown, and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.scale import Memory
    from benchmarks.series import Row, Series

OVERHEAD_SECONDS = 0.010
"""What the broker may add to a verb at the median."""

THREE_DIGITS = 100
"""A rate from which on a decimal would say nothing."""

CATALOGS_PER_SECOND = 8000
"""What one process is to serve at least."""

WARM_SHARE = 0.2
"""What a provision from the warm stock may take of CREATE DATABASE, at the median."""

BIND_RATIO = 3
"""How many times as long as the raw SQL a bind may take."""

LIVES_SHARE = 0.8
"""What the broker is to do of the lives that the same SQL by hand does, with 8 clients."""

GROWTH = 1.5
"""How many times as long something may take with much in the state, or on the server."""

MEMORY_BYTES = 150_000_000
"""What one process may occupy after much work."""

BESIDE_RECORDED = "beside recorded SQL"
"""Of a row whose raw SQL keeps records and locks as the broker does."""

WARM = "warm provision"
"""Of the row in which the raw SQL is nothing but ``CREATE DATABASE``."""

VERBS = ("provision", "bind", "unbind", "deprovision")

_HEADINGS = (
    "",
    "times",
    "broker\nmedian",
    "broker\n99th",
    "broker\nper s",
    "raw SQL\nmedian",
    "raw SQL\n99th",
    "raw SQL\nper s",
    "overhead",
    "ratio",
)


@dataclass(frozen=True, slots=True)
class Report:
    """Everything measured.

    Attributes:
        machine: Description by heading.
        rows: The table.
        memory: What the broker occupied, by how much it had done.
    """

    machine: Mapping[str, str]
    rows: Sequence[Row]
    memory: Sequence[Memory] = ()

    def table(self) -> Table:
        """Return the table for a terminal."""
        table = Table(box=None, pad_edge=False)
        for heading in _HEADINGS:
            table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*_cells(row))
        return table

    def markdown(self) -> str:
        """Return machine and table for a document."""
        headings = [heading.replace("\n", " ") for heading in _HEADINGS]
        lines = [f"- {name}: {value}" for name, value in self.machine.items()]
        lines += ["", _line(headings), _line(["---", *["---:"] * (len(headings) - 1)])]
        lines += [_line(_cells(row)) for row in self.rows]
        lines += ["", *(f"- {verdict}" for verdict in self.verdicts())]
        return "\n".join(lines) + "\n"

    def document(self) -> dict[str, Any]:
        """Return everything for programs; times in seconds."""
        return {
            "machine": dict(self.machine),
            "memory": [
                {"operations": sample.operations, "resident": sample.resident}
                for sample in self.memory
            ],
            "rows": [
                {
                    "name": row.name,
                    "broker": _figures(row.broker, paced=row.paced),
                    "raw": None if row.raw is None else _figures(row.raw, paced=row.paced),
                    "overhead": row.overhead,
                    "ratio": row.ratio,
                }
                for row in self.rows
            ],
        }

    def verdicts(self) -> list[str]:
        """Return what became of the targets."""
        return [
            *_catalog_verdict(self.rows),
            *_overhead_verdict(self.rows),
            *_warm_verdict(self.rows),
            *_bind_verdict(self.rows),
            *_rate_verdict(self.rows),
            *_growth_verdicts(self.rows),
            *_memory_verdict(self.memory),
        ]


def _catalog_verdict(rows: Sequence[Row]) -> Iterator[str]:
    rates = [row.broker.rate for row in rows if row.name.startswith("catalog,")]
    if rates:
        served = _held(max(rates) >= CATALOGS_PER_SECOND)
        yield f"Catalog, at least {CATALOGS_PER_SECOND:,} a second: {served}, {max(rates):,.0f}."


def _overhead_verdict(rows: Sequence[Row]) -> Iterator[str]:
    added = {row.name: row.overhead or 0.0 for row in rows if row.name in VERBS}
    if added:
        slowest, most = max(added.items(), key=lambda item: item[1])
        slow = _held(most < OVERHEAD_SECONDS)
        limit = _milliseconds(OVERHEAD_SECONDS)
        yield f"Overhead below {limit} at the median: {slow}, {_milliseconds(most)} for {slowest}."


def _warm_verdict(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.name == WARM and row.ratio is not None:
            held = _held(row.ratio <= WARM_SHARE)
            took = _milliseconds(row.broker.median)
            goal = f"Warm provision, at most {WARM_SHARE} of CREATE DATABASE"
            yield f"{goal}: {held}, {row.ratio:.2f}, {took}."


def _bind_verdict(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        if row.name == "bind" and row.ratio is not None:
            held = _held(row.ratio <= BIND_RATIO)
            yield f"Bind, at most {BIND_RATIO} times the raw SQL: {held}, {row.ratio:.2f}."


def _rate_verdict(rows: Sequence[Row]) -> Iterator[str]:
    compared = {
        "whole life, 8 clients": "the bare SQL",
        f"whole life, 8 clients, {BESIDE_RECORDED}": "the same SQL with its records",
    }
    for row in rows:
        if row.name in compared and row.raw is not None:
            share = row.broker.rate / row.raw.rate
            held = _held(share >= LIVES_SHARE)
            goal = f"Lives a second with 8 clients, at least {LIVES_SHARE} of {compared[row.name]}"
            yield f"{goal}: {held}, {share:.2f}."


def _growth_verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """Compare the far end of each growth with its beginning."""
    for thing in ("instances", "databases"):
        for verb in (*VERBS, WARM, "whole life"):
            series = [
                row for row in rows if row.name.startswith(f"{verb}, ") and row.name.endswith(thing)
            ]
            if not series:
                continue
            first, last = series[0], series[-1]
            growth = last.broker.median / first.broker.median
            if first.raw is not None and last.raw is not None:
                beside = last.raw.median / first.raw.median
                held = _held(growth <= GROWTH)
                end = last.name.partition(", ")[2]
                goal = f"{verb.capitalize()} with {end}, at most {GROWTH} times as long"
                yield f"{goal}: {held}, {growth:.2f}; the raw SQL {beside:.2f}."


def _memory_verdict(memory: Sequence[Memory]) -> Iterator[str]:
    if memory:
        grown = ", ".join(
            f"{sample.resident / 2**20:.0f} MiB after {sample.operations:,}" for sample in memory
        )
        held = _held(memory[-1].resident < MEMORY_BYTES)
        yield f"Memory below {MEMORY_BYTES / 1e6:.0f} MB: {held}, {grown} operations."


def _cells(row: Row) -> list[str]:
    return [
        row.name,
        f"{len(row.broker.seconds):,}",
        *_series(row.broker, paced=row.paced),
        *(("", "", "") if row.raw is None else _series(row.raw, paced=row.paced)),
        "" if row.overhead is None else _milliseconds(row.overhead),
        "" if row.ratio is None else f"{row.ratio:.2f}",
    ]


def _series(series: Series, *, paced: bool) -> tuple[str, str, str]:
    return (
        _milliseconds(series.median),
        _milliseconds(series.percentile_99),
        _rate(series.rate) if paced else "",
    )


def _figures(series: Series, *, paced: bool) -> dict[str, float | int | None]:
    return {
        "count": len(series.seconds),
        "median": series.median,
        "percentile_99": series.percentile_99,
        "per_second": series.rate if paced else None,
    }


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms"


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= THREE_DIGITS else f"{rate:.1f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _held(held: bool) -> str:
    return "held" if held else "MISSED"
