"""Sizes and durations as people write them in ``catalog.yaml``.

Belongs here: the units, read and written.
"""

from __future__ import annotations

import re
from datetime import timedelta

_BYTES = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SECONDS = {"s": 1, "m": 60, "h": 60 * 60, "d": 24 * 60 * 60}

# Nine digits keep the largest duration within what a timedelta can hold.
_QUANTITY = re.compile(r"(?P<number>[1-9][0-9]{0,8}) ?(?P<unit>[A-Za-z]+)")


def parse_size(text: str) -> int:
    """Return the bytes in a size such as ``512MiB``; the units are KiB, MiB, GiB and TiB.

    Raises:
        ValueError: It is not one.
    """
    return _parse(text, _BYTES)


def parse_duration(text: str) -> timedelta:
    """Return the time in a duration such as ``15m``; the units are s, m, h and d.

    Raises:
        ValueError: It is not one.
    """
    return timedelta(seconds=_parse(text, _SECONDS))


def format_size(size: int) -> str:
    """Return bytes with the largest unit that divides them, such as ``512MiB``."""
    return _format(size, _BYTES, smallest="B")


def format_duration(duration: timedelta) -> str:
    """Return a time with the largest unit that divides it, such as ``15m``."""
    return _format(int(duration.total_seconds()), _SECONDS, smallest="s")


def _parse(text: str, units: dict[str, int]) -> int:
    match = _QUANTITY.fullmatch(text)
    if match is None or match["unit"] not in units:
        raise ValueError(f"{text!r} is not a whole number with one of the units {', '.join(units)}")
    return int(match["number"]) * units[match["unit"]]


def _format(number: int, units: dict[str, int], *, smallest: str) -> str:
    for unit in reversed(units):
        if number and number % units[unit] == 0:
            return f"{number // units[unit]}{unit}"
    return f"{number}{smallest}"
