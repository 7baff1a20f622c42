"""Sizes and durations."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.config.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("1KiB", 1024), ("512MiB", 512 * 2**20), ("1 GiB", 2**30), ("2TiB", 2**41)],
)
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    """A whole number with a binary unit becomes bytes."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("30s", timedelta(seconds=30)),
        ("15m", timedelta(minutes=15)),
        ("12 h", timedelta(hours=12)),
        ("999999999d", timedelta(days=999999999)),
    ],
)
def test_a_duration_is_read_as_time(text: str, duration: timedelta) -> None:
    """A whole number with a unit of time becomes a duration, up to the longest there is."""
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text", ["", "1", "GiB", "1GB", "1gib", "0GiB", "-1GiB", "1.5GiB", "1GiB\n", "1  GiB", "1s"]
)
def test_anything_else_is_no_size(text: str) -> None:
    """A size without its unit, with another one, or with more around it is refused."""
    with pytest.raises(ValueError, match="KiB, MiB, GiB, TiB"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "1", "d", "1w", "1D", "0s", "1.5h", "1h30m", "9999999999d"])
def test_anything_else_is_no_duration(text: str) -> None:
    """A duration without its unit, with another one, or longer than any calendar is refused."""
    with pytest.raises(ValueError, match="s, m, h, d"):
        parse_duration(text)


@settings(deadline=None)
@given(st.integers(1, 2**20), st.sampled_from(["KiB", "MiB", "GiB", "TiB"]))
def test_a_printed_size_reads_back(number: int, unit: str) -> None:
    """What is printed for a size is that size again when it is read."""
    size = parse_size(f"{number}{unit}")
    assert parse_size(format_size(size)) == size


@settings(deadline=None)
@given(st.integers(1, 10**6), st.sampled_from("smhd"))
def test_a_printed_duration_reads_back(number: int, unit: str) -> None:
    """What is printed for a duration is that duration again when it is read."""
    duration = parse_duration(f"{number}{unit}")
    assert parse_duration(format_duration(duration)) == duration


def test_sizes_and_durations_are_printed_with_the_largest_unit() -> None:
    """The largest unit without a remainder is used, and none is invented for odd bytes."""
    assert format_size(2**30) == "1GiB"
    assert format_size(1536 * 2**20) == "1536MiB"
    assert format_size(1000) == "1000B"
    assert format_duration(timedelta(hours=48)) == "2d"
    assert format_duration(timedelta(seconds=90)) == "90s"
