"""The table: on a terminal, in Markdown, and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.series import Row, Series

OVERHEAD_SECONDS = 0.010
"""What the broker may add to a verb at the median."""

CATALOGS_PER_SECOND = 8000
"""What one process is to serve at least."""

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
_VERBS = frozenset({"provision", "bind", "unbind", "deprovision"})


@dataclass(frozen=True, slots=True)
class Report:
    """Everything measured.

    Attributes:
        machine: Description by heading.
        rows: The table.
    """

    machine: Mapping[str, str]
    rows: Sequence[Row]

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
        rates = [row.broker.rate for row in self.rows if row.name.startswith("catalog,")]
        added = {row.name: row.overhead or 0.0 for row in self.rows if row.name in _VERBS}
        slowest, most = max(added.items(), key=lambda item: item[1])
        served = _held(max(rates) >= CATALOGS_PER_SECOND)
        slow = _held(most < OVERHEAD_SECONDS)
        limit = _milliseconds(OVERHEAD_SECONDS)
        return [
            f"Catalog, at least {CATALOGS_PER_SECOND:,} a second: {served}, {max(rates):,.0f}.",
            f"Overhead below {limit} at the median: {slow}, {_milliseconds(most)} for {slowest}.",
        ]


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
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"  # noqa: PLR2004 -- three digits or so


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _held(held: bool) -> str:
    return "held" if held else "MISSED"
