"""Parameters against the published schemas."""

from __future__ import annotations

from time import monotonic
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.api.parameters import MAX_PROBLEMS, check_parameters, validate_parameters
from broker.domain.errors import InvalidRequest
from broker.domain.parameters import EXTENSIONS, INIT_DB_ARGS, ROLE

# What the catalog publishes for a plan with these extensions and roles; that it does is proved
# where the schemas are made.
INSTANCE: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-04/schema#",
    "type": "object",
    "properties": {
        INIT_DB_ARGS: {
            "type": ["string", "array"],
            "maxLength": 1024,
            "maxItems": 32,
            "items": {"type": "string", "maxLength": 1024},
        },
        EXTENSIONS: {
            "type": "array",
            "items": {"type": "string", "enum": ["citext", "hstore"]},
            "uniqueItems": True,
        },
    },
    "additionalProperties": False,
}
BINDING: dict[str, Any] = {
    "$schema": "http://json-schema.org/draft-04/schema#",
    "type": "object",
    "properties": {ROLE: {"type": "string", "enum": ["read-write", "read-only"]}},
    "additionalProperties": False,
}

HUGE = 10**5000


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("schema", "parameters"),
    [
        (INSTANCE, {}),
        (INSTANCE, {INIT_DB_ARGS: "--data-checksums"}),
        (INSTANCE, {INIT_DB_ARGS: ["--encoding", "UTF8"], EXTENSIONS: ["hstore", "citext"]}),
        (BINDING, {}),
        (BINDING, {ROLE: "read-only"}),
    ],
)
def test_parameters_that_fit_are_accepted(
    schema: dict[str, Any], parameters: dict[str, Any]
) -> None:
    """What the schema allows passes without a word."""
    check_parameters(schema, parameters)


@pytest.mark.parametrize(
    ("schema", "parameters", "problem"),
    [
        (BINDING, {"rolle": "x"}, "There is no parameter 'rolle'; this plan has: role."),
        (BINDING, {"a": 1, "b": 2}, "There is no parameter 'a', 'b'; this plan has: role."),
        (
            BINDING,
            {ROLE: "admin"},
            "The parameter 'role' is 'admin', but must be one of read-write, read-only.",
        ),
        (
            BINDING,
            {ROLE: "x" * 10_000},
            f"The parameter 'role' is '{'x' * 40}...', but must be one of read-write, read-only.",
        ),
        (
            INSTANCE,
            {INIT_DB_ARGS: True},
            "The parameter 'init-db-args' must be a string or a list.",
        ),
        (
            INSTANCE,
            {INIT_DB_ARGS: 1e400},
            "The parameter 'init-db-args' must be a string or a list.",
        ),
        (
            INSTANCE,
            {INIT_DB_ARGS: ["-k", 7]},
            "The parameter 'init-db-args'[1] must be a string.",
        ),
        (
            INSTANCE,
            {INIT_DB_ARGS: "x" * 1025},
            "The parameter 'init-db-args' must have at most 1024 characters.",
        ),
        (
            INSTANCE,
            {INIT_DB_ARGS: ["-k"] * 33},
            "The parameter 'init-db-args' must have at most 32 entries.",
        ),
        (
            INSTANCE,
            {EXTENSIONS: ["hstore", "postgis"]},
            "The parameter 'extensions'[1] is 'postgis', but must be one of citext, hstore.",
        ),
        (
            INSTANCE,
            {EXTENSIONS: ["hstore", "hstore"]},
            "The parameter 'extensions' must not name anything twice.",
        ),
        (INSTANCE, {EXTENSIONS: "hstore"}, "The parameter 'extensions' must be a list."),
    ],
)
def test_a_refusal_names_the_parameter_and_what_it_may_be(
    schema: dict[str, Any], parameters: dict[str, Any], problem: str
) -> None:
    """One wrong parameter is one sentence that a user can act on."""
    assert validate_parameters(schema, parameters) == [problem]
    with pytest.raises(InvalidRequest) as refusal:
        check_parameters(schema, parameters)
    assert refusal.value.description == problem


@pytest.mark.parametrize(
    "value",
    [HUGE, [HUGE], _nested(900), _nested(20_000), {"a": _nested(20_000)}, {"a": HUGE}],
    ids=["huge", "huge in a list", "nested", "nested deeper", "object", "huge in an object"],
)
def test_no_value_is_too_strange_to_refuse(value: Any) -> None:
    """Numbers of thousands of digits and bottomless lists are refused in a few words."""
    with pytest.raises(InvalidRequest) as refusal:
        check_parameters(BINDING, {ROLE: value})
    assert len(refusal.value.description) < 200


def test_many_mistakes_are_cut_short() -> None:
    """A list of wrong names is answered with the first few."""
    found = validate_parameters(INSTANCE, {EXTENSIONS: [f"e{number}" for number in range(10_000)]})
    assert len(found) == MAX_PROBLEMS


@pytest.mark.parametrize(
    "extensions",
    [
        [{}, 1, "hstore"] * 100_000,
        ["hstore"] * 300_000,
        [*["hstore", "citext"] * 150_000, {}],
        [[number] for number in range(100_000)],
    ],
    ids=["mixed", "repeated", "one odd one", "lists"],
)
def test_a_long_list_is_refused_in_no_time(extensions: list[Any]) -> None:
    """The search for duplicates does not grow with the square of what a user sends."""
    started = monotonic()
    with pytest.raises(InvalidRequest):
        check_parameters(INSTANCE, {EXTENSIONS: extensions})
    assert monotonic() - started < 5


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.sampled_from([INIT_DB_ARGS, EXTENSIONS, "other"]) | st.text(), _JSON))
def test_whatever_comes_is_accepted_or_refused(parameters: dict[str, Any]) -> None:
    """No JSON object makes anything but a good request or an invalid one."""
    for problem in validate_parameters(INSTANCE, parameters):
        assert problem.startswith(("There is no parameter ", "The parameter '"))
