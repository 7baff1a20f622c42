"""Parameters against the published schemas."""

from __future__ import annotations

from time import process_time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.api.parameters import MAX_PROBLEMS, check_parameters, validate_parameters
from broker.config.parameter_schemas import parameter_schemas
from broker.domain.catalog import BindingPolicy, Extensions
from broker.domain.database import Access
from broker.domain.errors import InvalidRequest
from broker.domain.parameters import EXTENSIONS, INIT_DB_ARGS, ROLE

SCHEMAS = parameter_schemas(
    Extensions(allowed=("citext", "hstore", "pg_trgm")),
    BindingPolicy({"read-write": Access.WRITE, "read-only": Access.READ}, "read-write"),
)
INSTANCE, BINDING = SCHEMAS["provision"], SCHEMAS["bind"]

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
            {EXTENSIONS: ["citext", "gis"]},
            "The parameter 'extensions'[1] is 'gis', but must be one of citext, hstore, pg_trgm.",
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
    """Of a list with more wrong options than a message can hold, the first few are named."""
    found = validate_parameters(INSTANCE, {INIT_DB_ARGS: list(range(20))})
    assert found == [f"The parameter 'init-db-args'[{i}] must be a string." for i in range(5)]
    assert len(found) == MAX_PROBLEMS


@pytest.mark.parametrize(
    "extensions",
    [
        [{}, 1, "hstore"] * 100_000,
        ["hstore"] * 300_000,
        [*["hstore", "citext"] * 150_000, {}],
        [[number] for number in range(300_000)],
    ],
    ids=["mixed", "repeated", "one odd one", "lists"],
)
def test_a_list_that_is_too_long_is_not_looked_into(extensions: list[Any]) -> None:
    """However long a list is, refusing it takes no time and one sentence."""
    started = process_time()
    found = validate_parameters(INSTANCE, {EXTENSIONS: extensions})
    assert process_time() - started < 0.5
    assert found == ["The parameter 'extensions' must have at most 3 entries."]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(deadline=None)  # how long an example takes depends on what else the machine does
@given(st.dictionaries(st.sampled_from([INIT_DB_ARGS, EXTENSIONS, "other"]) | st.text(), _JSON))
def test_whatever_comes_is_accepted_or_refused(parameters: dict[str, Any]) -> None:
    """No JSON object makes anything but a good request or an invalid one."""
    for problem in validate_parameters(INSTANCE, parameters):
        assert problem.startswith(("There is no parameter ", "The parameter '"))
