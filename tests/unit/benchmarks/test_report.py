"""The figures of the table are what was measured."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from benchmarks.report import BESIDE_RECORDED, WARM, Report
from benchmarks.scale import Memory
from benchmarks.series import Row, Series

MACHINE = {"CPU": "Model T, 2 cores", "Memory": "4 GiB"}


def _series(*milliseconds: float, elapsed: float = 1.0) -> Series:
    return Series([value / 1000 for value in milliseconds], elapsed)


def _report(*, catalogs: int = 10_000, bind: float = 12.0) -> Report:
    return Report(
        MACHINE,
        [
            Row("catalog, 16 connections", Series([0.001] * catalogs, 1.0), paced=True),
            Row("bind", _series(bind, bind, 30.0), _series(5.0, 5.0, 6.0)),
            Row("whole life, 8 clients", _series(400, 600), _series(200, 300), paced=True),
        ],
    )


def test_median_and_percentile() -> None:
    """The middle one, and the one that 99 of 100 do not exceed."""
    series = _series(*range(1, 201))
    assert series.median == pytest.approx(0.1005)
    assert series.percentile_99 == pytest.approx(0.198)


def test_the_percentile_of_few_is_the_largest() -> None:
    """Below a hundred values nothing is thrown away."""
    assert _series(3, 1, 2).percentile_99 == pytest.approx(0.003)


def test_the_rate_is_of_the_elapsed_time() -> None:
    """What overlapped is not counted one after the other."""
    assert _series(500, 500, 500, 500, elapsed=0.5).rate == pytest.approx(8.0)


def test_what_raises_is_not_counted() -> None:
    """A failure is quick, and would make a broken broker look good."""
    series = Series()
    with series.measured():
        pass
    with pytest.raises(ValueError, match="broken"), series.measured():
        raise ValueError("broken")
    assert len(series.seconds) == 1


def test_by_turns_the_overhead_is_the_median_of_the_differences() -> None:
    """What is slow for both at the same time is no overhead."""
    raw = [0.01, 0.01, 0.09, 0.09, 0.09]
    broker = [each + 0.005 for each in raw]
    turns = Row("bind", Series(broker), Series(raw), by_turns=True)
    assert turns.overhead == pytest.approx(0.005)


def test_the_overhead_is_the_difference_of_the_medians() -> None:
    """A single slow answer changes neither overhead nor ratio."""
    row = _report().rows[1]
    assert row.overhead == pytest.approx(0.007)
    assert row.ratio == pytest.approx(2.4)
    assert _report().rows[0].overhead is None


def test_markdown_has_the_machine_and_every_row() -> None:
    """The document shows what the terminal shows."""
    lines = _report().markdown().splitlines()
    assert lines[0] == "- CPU: Model T, 2 cores"
    assert "| bind | 3 | 12.0 ms | 30.0 ms |  | 5.0 ms | 6.0 ms |  | 7.0 ms | 2.40 |" in lines
    assert "| catalog, 16 connections | 10,000 | 1.0 ms | 1.0 ms | 10,000 |  |  |  |  |  |" in lines
    columns = {line.count("|") for line in lines if line.startswith("|")}
    assert columns == {11}


def test_the_terminal_has_the_same_figures() -> None:
    """Every row is there, whole, on a terminal that is wide enough."""
    console = Console(width=160)
    with console.capture() as captured:
        console.print(_report().table())
    rows = [line.split() for line in captured.get().splitlines()]
    assert [
        "bind",
        "3",
        "12.0",
        "ms",
        "30.0",
        "ms",
        "5.0",
        "ms",
        "6.0",
        "ms",
        "7.0",
        "ms",
        "2.40",
    ] in rows


def test_programs_get_seconds() -> None:
    """The JSON document has plain numbers, and nothing where there is nothing to compare."""
    document = json.loads(json.dumps(_report().document()))
    catalog, bind, _ = document["rows"]
    assert document["machine"] == MACHINE
    assert (catalog["raw"], catalog["overhead"], bind["broker"]["per_second"]) == (None, None, None)
    assert catalog["broker"]["per_second"] == pytest.approx(10_000)
    assert bind["raw"] == {
        "count": 3,
        "median": pytest.approx(0.005),
        "percentile_99": pytest.approx(0.006),
        "per_second": None,
    }


@pytest.mark.parametrize(
    ("report", "verdicts"),
    [
        (_report(), ["held, 10,000", "held, 7.0 ms for bind", "held, 2.40", "held, 1.00"]),
        (
            _report(catalogs=7_999),
            ["MISSED, 7,999", "held, 7.0 ms for bind", "held, 2.40", "held, 1.00"],
        ),
        (
            _report(bind=15.5),
            ["held, 10,000", "MISSED, 10.5 ms for bind", "MISSED, 3.10", "held, 1.00"],
        ),
    ],
)
def test_targets_are_judged(report: Report, verdicts: list[str]) -> None:
    """Catalogs a second, what a verb costs at most, a bind in particular, lives with 8 clients."""
    assert [line.split(": ")[1].rstrip(".") for line in report.verdicts()] == verdicts


def test_a_warm_provision_is_judged_by_create_database() -> None:
    """A fifth of it is held, more is not."""
    for took, verdict in ((8.0, "held"), (10.0, "MISSED")):
        row = Row(WARM, _series(took), _series(40.0))
        assert f": {verdict}, {took / 40:.2f}" in Report(MACHINE, [row]).verdicts()[0]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("provision", "Provision with 10,000 instances"),
        (WARM, "Warm provision with 10,000 instances"),
        ("whole life, 8 clients", "Whole life with 8 clients, 10,000 instances"),
    ],
)
def test_growth_is_judged_by_its_ends(name: str, said: str) -> None:
    """The last number is compared with the first, and the raw SQL's growth stands beside it."""
    rows = [
        Row(f"{name}, {number} instances", _series(took), _series(2.0 + took))
        for number, took in (("10", 10.0), ("1,000", 40.0), ("10,000", 14.0))
    ]
    (verdict,) = Report(MACHINE, rows).verdicts()
    assert verdict.startswith(said)
    assert verdict.endswith(": held, 1.40; the raw SQL 1.33.")


def test_memory_is_judged_at_the_end() -> None:
    """What counts is what it occupies after all of the work."""
    for megabytes, verdict in ((149, "held"), (151, "MISSED")):
        memory = [Memory(0, 10**6), Memory(10_000, megabytes * 10**6)]
        assert f": {verdict}, 1 MiB after 0, " in Report(MACHINE, [], memory).verdicts()[0]


def test_lives_are_compared_with_bare_and_with_recorded_sql() -> None:
    """What the records cost is told apart from what the broker costs beside them."""
    broker, bare, recorded = (_series(900, 900, elapsed=time) for time in (2.0, 1.0, 1.8))
    name = "whole life, 8 clients"
    rows = [
        Row(name, broker, bare, paced=True),
        Row(f"{name}, {BESIDE_RECORDED}", broker, recorded, paced=True),
    ]
    assert Report(MACHINE, rows).verdicts() == [
        "Lives a second with 8 clients, at least 0.8 of the bare SQL: MISSED, 0.50.",
        "Lives a second with 8 clients, at least 0.8 of the same SQL with its records: held, 0.90.",
    ]
