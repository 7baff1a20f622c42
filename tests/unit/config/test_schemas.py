"""The JSON Schemas of our own files."""

from __future__ import annotations

import json
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator

from broker.config import explanations

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMAS = ["catalog.schema.json", "servers.schema.json", "platforms.schema.json"]


def _schema(name: str) -> Any:
    return json.loads(resources.files("broker.config").joinpath(name).read_text("utf-8"))


def _subschemas(schema: Any) -> Iterator[dict[str, Any]]:
    yield schema
    for key in ("properties", "patternProperties", "$defs"):
        for child in schema.get(key, {}).values():
            yield from _subschemas(child)
    for key in ("items", "additionalProperties", "propertyNames"):
        if isinstance(schema.get(key), dict):
            yield from _subschemas(schema[key])


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema_is_valid_json_schema(name: str) -> None:
    """Each schema satisfies its own meta-schema."""
    Draft202012Validator.check_schema(_schema(name))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_pattern_says_what_to_write_instead(name: str) -> None:
    """No reader is ever shown a regular expression."""
    patterns = [part for part in _subschemas(_schema(name)) if "pattern" in part]
    assert patterns
    assert all(part["patternErrorMessage"] for part in patterns)
    assert all(part["pattern"].startswith("^") for part in patterns)
    assert all(part["pattern"].endswith("$") for part in patterns)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_is_described(name: str) -> None:
    """An editor has something to show for every key."""
    schema = _schema(name)
    for part in _subschemas(schema):
        for key, child in part.get("properties", {}).items():
            target = schema["$defs"][child["$ref"].rpartition("/")[2]] if "$ref" in child else {}
            described = child.get("description") or target.get("description")
            assert described or key in ("servers", "platforms"), key


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_keyword_that_can_fail_is_explained(name: str) -> None:
    """A schema uses no keyword that the explanations do not know."""
    annotations = {"$schema", "title", "description", "default", "patternErrorMessage"}
    applicators = {
        *("$ref", "$defs", "properties", "patternProperties", "items", "propertyNames"),
        *("additionalProperties", "required"),
    }
    explained = {"type", "enum", "pattern", *explanations.RULES}
    used = {keyword for part in _subschemas(_schema(name)) for keyword in part}
    assert used - annotations - applicators <= explained
