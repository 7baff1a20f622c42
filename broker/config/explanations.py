"""What a violated JSON Schema means, for the person who edits the file.

Belongs here: one sentence per schema keyword that our schemas use.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from broker.config.problems import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonschema import ValidationError

_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}

RULES = {
    "maxItems": "must have at most {} entries",
    "maxLength": "must have at most {} characters",
    "maxProperties": "must have at most {} entries",
    "maximum": "must be at most {}",
    "minItems": "must have at least {} entry",
    "minLength": "must not be empty",
    "minProperties": "must have at least {} entry",
    "minimum": "must be at least {}",
    "uniqueItems": "must not name anything twice",
}

_LONGEST_ECHO = 60


def path_text(path: tuple[str | int, ...]) -> str:
    """Return a path as people write it, such as ``offerings[0].plans[1].limits``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".") or "the document"


def explain(
    error: ValidationError, *, confidential: bool
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Say what is wrong and what is allowed.

    Args:
        error: One violation.
        confidential: Do not repeat values.

    Yields:
        The path to put right, and the message; several for several unknown keys.
    """
    path: tuple[str | int, ...] = tuple(error.absolute_path)
    schema: Any = error.schema
    value: Any = error.instance
    if error.validator == "additionalProperties":
        for key in _unknown_keys(schema, value):
            yield (*path, key), _unknown_key(path, key, schema["properties"])
    elif error.validator == "required":
        missing = next(key for key in schema["required"] if f"{key!r} is" in error.message)
        yield path, f"{path_text(path)} lacks {missing!r}."
    elif "propertyNames" in error.schema_path:
        yield (*path, value), f"the key {value!r} of {path_text(path)}: {_rule(error)}."
    else:
        given = "" if confidential else _given(value)
        yield path, f"{path_text(path)}{given}: {_rule(error)}."


def _unknown_keys(schema: dict[str, Any], value: dict[str, Any]) -> list[str]:
    return [key for key in value if key not in schema["properties"] and not key.startswith("x-")]


def _unknown_key(path: tuple[str | int, ...], key: str, known: dict[str, Any]) -> str:
    hint = did_you_mean(key, known) or f" Allowed: {', '.join(sorted(known))}."
    return f"{path_text(path)} has no key {key!r}.{hint}"


def _given(value: Any) -> str:
    if isinstance(value, dict | list):
        return ""
    text = "empty" if value is None else repr(value)
    return f" is {text}" if len(text) <= _LONGEST_ECHO else f" is {text[:_LONGEST_ECHO]}..."


def _rule(error: ValidationError) -> str:
    """Return what the violated keyword asks for."""
    schema: Any = error.schema
    value: Any = error.instance
    expected: Any = error.validator_value
    rule: str
    match error.validator:
        case "type":
            quotes = expected == "string" and isinstance(value, bool | int | float)
            if quotes and not re.search(schema.get("pattern", ""), str(value)):
                rule = schema["patternErrorMessage"]
            else:
                rule = f"must be {_TYPES[expected]}{'; put it in quotes' * quotes}"
        case "enum":
            rule = f"must be one of {', '.join(expected)}"
        case "pattern":
            rule = schema["patternErrorMessage"]
        case keyword:
            rule = RULES[str(keyword)].format(expected)
    return rule
