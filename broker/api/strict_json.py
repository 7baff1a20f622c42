"""JSON as RFC 8259 means it, for bodies that strangers send.

Python's parser lets through what PostgreSQL cannot store (NUL characters, lone surrogates), what
is no JSON (``NaN``), and what two readers may understand differently (duplicate keys).
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

MAX_DEPTH = 64
"""Levels of nesting; platforms send about four."""

MAX_INTEGER_DIGITS = 100
"""More digits than any platform sends, fewer than make parsing slow."""

_FORBIDDEN_NUL = "\x00"
_FIRST_SURROGATE, _LAST_SURROGATE = "\ud800", "\udfff"


def parse_object(body: bytes) -> dict[str, Any]:
    """Parse a JSON object.

    Args:
        body: UTF-8.

    Raises:
        ValueError: It is something else; the message says what, and repeats nothing of it.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("the body is not UTF-8") from None
    try:
        document = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_int=_bounded_integer,
            parse_float=_finite_float,
            object_pairs_hook=_unique_object,
        )
    except json.JSONDecodeError as exc:
        raise ValueError(f"the body is not JSON: {exc.msg}, at character {exc.pos}") from None
    except RecursionError:
        raise ValueError("the body is nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError("the body must be a JSON object")  # noqa: TRY004 - like all that is wrong with a body
    _check(document)
    return document


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"the body contains {name}, which is not JSON")


def _bounded_integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise ValueError(f"the body contains a number of more than {MAX_INTEGER_DIGITS} digits")
    return int(digits)


def _finite_float(digits: str) -> float:
    value = float(digits)
    if value in {float("inf"), float("-inf")}:
        raise ValueError("the body contains a number that is too large")
    return value


def _unique_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("the body contains an object with the same key twice")
    return result


def _check(document: dict[str, Any]) -> None:
    """Walk the document level by level, without recursion."""
    level: list[Any] = [document]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, dict):
                below.extend(value)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        level = below
    if level:
        raise ValueError("the body is nested too deeply")


def _check_text(value: str) -> None:
    if _FORBIDDEN_NUL in value:
        raise ValueError("the body contains a NUL character")
    if any(_FIRST_SURROGATE <= character <= _LAST_SURROGATE for character in value):
        raise ValueError("the body contains half of a surrogate pair")
