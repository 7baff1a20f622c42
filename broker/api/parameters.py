"""Checks parameters against the JSON Schema that the catalog publishes for them.

Belongs here: from a violated schema to a sentence for the user. What parameters mean is decided in
``broker/domain/parameters.py``.
"""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from jsonschema import Draft4Validator
from jsonschema.validators import extend

from broker.domain.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from jsonschema import ValidationError
    from jsonschema.protocols import Validator

MAX_PROBLEMS = 5

_LONGEST_ECHO = 40
_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "a string",
}


def check_parameters(schema: Mapping[str, Any], parameters: Mapping[str, Any]) -> None:
    """Refuse parameters that do not fit.

    Args:
        schema: A JSON Schema of draft 4, as the catalog publishes it.
        parameters: As the platform sent them.

    Raises:
        InvalidRequest: They do not fit; its description names each parameter and what it may be.
    """
    problems = validate_parameters(schema, parameters)
    if problems:
        raise InvalidRequest(" ".join(problems))


def validate_parameters(schema: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with parameters, five sentences at most; an empty list is good.

    Long values are cut, nested ones not repeated at all.
    """
    # The library's own messages contain the ``repr`` of values, and Python has none for lists that
    # are nested too deeply or numbers with thousands of digits.
    errors = _validator(json.dumps(schema)).iter_errors(dict(parameters))
    try:
        return [_explain(error) for error in islice(errors, MAX_PROBLEMS)]
    except (RecursionError, ValueError):
        return ["The parameters have a value that is nested too deeply or too long."]


def _bounded(keyword: str) -> Callable[..., Iterator[ValidationError]]:
    check = Draft4Validator.VALIDATORS[keyword]

    def bounded(
        validator: Validator, value: Any, instance: Any, schema: Mapping[str, Any]
    ) -> Iterator[ValidationError]:
        # ``maxItems`` refuses a longer list; looking at every item would only take time.
        if not isinstance(instance, list) or len(instance) <= schema.get("maxItems", len(instance)):
            yield from check(validator, value, instance, schema) or ()

    return bounded


_Validator: type[Validator] = extend(  # type: ignore[no-untyped-call]  # its stubs lack types
    Draft4Validator, {keyword: _bounded(keyword) for keyword in ("items", "uniqueItems")}
)


@lru_cache(maxsize=256)
def _validator(schema: str) -> Validator:
    return _Validator(json.loads(schema))


def _explain(error: ValidationError) -> str:
    schema: Any = error.schema
    value: Any = error.instance
    expected: Any = error.validator_value
    match error.validator:
        case "additionalProperties":
            unknown = (_echo(name) for name in value if name not in schema["properties"])
            known = ", ".join(sorted(schema["properties"]))
            names = ", ".join(islice(unknown, MAX_PROBLEMS))
            return f"There is no parameter {names}; this plan has: {known}."
        case "type":
            kinds = [expected] if isinstance(expected, str) else expected
            rule = f"must be {' or '.join(_TYPES[kind] for kind in kinds)}"
        case "enum":
            rule = f"is {_echo(value)}, but must be one of {', '.join(map(str, expected))}"
        case "uniqueItems":
            rule = "must not name anything twice"
        case "maxLength":
            rule = f"must have at most {expected} characters"
        case "maxItems":
            rule = f"must have at most {expected} entries"
        case keyword:
            rule = f"violates {keyword!r} of the plan's published schema"
    return f"The parameter {_name(error)} {rule}."


def _name(error: ValidationError) -> str:
    name, *rest = error.absolute_path
    return repr(name) + "".join(f"[{part}]" for part in rest)


def _echo(value: Any) -> str:
    if not isinstance(value, str):
        return f"of type {type(value).__name__}"
    return repr(value if len(value) <= _LONGEST_ECHO else f"{value[:_LONGEST_ECHO]}...")
