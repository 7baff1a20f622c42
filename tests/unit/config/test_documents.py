"""YAML that is no YAML, or not what YAML looks like."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.config import ConfigurationError
from broker.config.platforms import parse_platforms
from broker.config.servers import parse_servers

from .examples import problem_of, problems_of


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "catalog.yaml:1: the document is empty: must be a mapping."),
        ("- 1\n", "catalog.yaml:1: the document: must be a mapping."),
        ("a: 1\nb: 2\na: 3\n", "catalog.yaml:3: the key 'a' is there twice. Keep one."),
        (
            "&all [*all]",
            "catalog.yaml: an alias refers to itself, or the document is nested too deeply.",
        ),
        ("1: 2\n", "catalog.yaml:1: a key of the document is not text; quote it."),
        (
            "offerings: []\nx-day: 2026-11-23\n",
            "catalog.yaml:2: x-day is a date, a tag or no finite number; quote it.",
        ),
        (
            "offerings: []\nx-far: .inf\n",
            "catalog.yaml:2: x-far is a date, a tag or no finite number; quote it.",
        ),
        (
            "offerings: []\nx-tag: !thing text\n",
            "catalog.yaml:2: x-tag is a date, a tag or no finite number; quote it.",
        ),
    ],
)
def test_a_document_that_json_cannot_say_is_refused(text: str, message: str) -> None:
    """What has no counterpart in JSON, or no single meaning, is one problem."""
    assert problem_of(text) == message


@pytest.mark.parametrize(
    "text",
    ["a: [", "a: b: c\n", "a: *nothing\n", "a:\n\t- b\n", "a: 'b\n", "a: 1\n---\nb: 2\n"],
)
def test_a_syntax_error_names_its_line(text: str) -> None:
    """Broken YAML is one problem with a line."""
    (problem,) = problems_of(text)
    assert problem.where.startswith("catalog.yaml:")
    assert problem.message.startswith("this is not valid YAML (")


@pytest.mark.parametrize("text", ["a: \x01\n", "a: \ud800\n", "[" * 10_000])
def test_what_no_yaml_can_contain_is_refused(text: str) -> None:
    """Forbidden characters and bottomless nesting are problems, too, not crashes."""
    assert "this is not valid YAML" in problem_of(text)


CANARY = "canary-7f3a"

SPOILT = [
    "password: *{}",
    "password: &{} !x {}",
    "password: '{}",
    "password: {}\n    password: {}2",
    "password: [{}]",
    "password: {{{}: 1}}",
    "host: postgresql://u:{}@h/db",
    "name: {}",
    "port: {}",
    "sslmode: {}",
    "admin_dsn: {}",
    "ca_certificate: {}",
    "username: {}:{}",
    "password: 0x{}",
    "password: {}\tx: {}: y",
]


@pytest.mark.parametrize("line", SPOILT)
@pytest.mark.parametrize("kind", ["servers", "platforms"])
def test_no_message_about_a_confidential_file_repeats_a_value(kind: str, line: str) -> None:
    """Whatever a mistake in a file with secrets is, the message does not give a secret away."""
    parse = {"servers": parse_servers, "platforms": parse_platforms}[kind]
    text = f"{kind}:\n  - {line.replace('{}', CANARY)}\n"
    with pytest.raises(ConfigurationError) as refusal:
        parse(text, f"{kind}.yaml", directory=Path("/nonexistent"))
    assert CANARY not in repr(refusal.value) + str(refusal.value)
