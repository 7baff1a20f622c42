"""YAML documents that remember their lines, checked against a JSON Schema.

Belongs here: from text to plain data, or to problems that name the line. What the data means is
the business of the modules that ask for it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from math import isfinite
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator, ValidationError
from jsonschema.validators import extend
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from broker.config.explanations import explain, path_text
from broker.config.problems import ConfigurationError, Problem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jsonschema.protocols import Validator

DocumentPath = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML document that satisfies its schema.

    Attributes:
        data: Dictionaries, lists and scalars, nothing of the YAML library's.
        source: The file, as the operator named it.
        lines: The line of every key and list item, by its path.
    """

    data: Any
    source: str
    lines: Mapping[DocumentPath, int]

    def at(self, path: DocumentPath) -> Any:
        """Return what is at this path."""
        node = self.data
        for part in path:
            node = node[part]
        return node

    def where(self, path: DocumentPath) -> str:
        """Return ``file:line`` of what is at this path, or of the nearest thing around it."""
        return f"{self.source}:{self.line(path)}"

    def line(self, path: DocumentPath) -> int:
        """Return the line of what is at this path, or of the nearest thing around it."""
        return _nearest(self.lines, path)

    def problem(self, path: DocumentPath, message: str) -> Problem:
        """Return a problem with what is at this path."""
        return Problem(self.where(path), message)


def parse_document(text: str, source: str, *, schema: str, confidential: bool = False) -> Document:
    """Read YAML 1.2 and check it.

    Args:
        text: The document.
        source: Its file, for messages.
        schema: The file name of a JSON Schema in this package.
        confidential: No message may repeat a value.

    Raises:
        ConfigurationError: It is not YAML, has duplicate keys, or does not satisfy the schema.
    """
    loaded = _load(text, source, confidential=confidential)
    reader = _Reader(source)
    try:
        document = Document(reader.read(loaded, ()), source, reader.lines)
    except RecursionError:
        message = "an alias refers to itself, or the document is nested too deeply."
        raise ConfigurationError([Problem(source, message)]) from None
    problems = reader.problems or _violations(document, schema, confidential=confidential)
    if problems:
        raise ConfigurationError(problems)
    return document


def _load(text: str, source: str, *, confidential: bool) -> Any:
    try:
        return YAML(typ="rt").load(text)
    except DuplicateKeyError as exc:
        # The library's message repeats both values, which may be passwords.
        key = re.search(r'found duplicate key "(.*?)" with', str(exc.problem))
        message = f"the key {key[1]!r} is there twice." if key else "this key is there twice."
        problem = Problem(_marked(source, exc), f"{message} Keep one.")
    except MarkedYAMLError as exc:
        detail = "" if confidential else f" ({exc.problem})"
        message = f"this is not valid YAML{detail}. Put a value with special characters in quotes."
        problem = Problem(_marked(source, exc), message)
    except (YAMLError, RecursionError):
        message = "this is not valid YAML: it has a character that YAML forbids, or never ends."
        problem = Problem(source, message)
    raise ConfigurationError([problem])


def _marked(source: str, exc: MarkedYAMLError) -> str:
    mark = exc.problem_mark or exc.context_mark
    return source if mark is None else f"{source}:{mark.line + 1}"


def _nearest(lines: Mapping[DocumentPath, int], path: DocumentPath) -> int:
    while path not in lines:
        path = path[:-1]
    return lines[path]


class _Reader:
    """Turns the YAML library's types into Python's own and notes where everything stood."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: dict[DocumentPath, int] = {(): 1}
        self.problems: list[Problem] = []

    def read(self, node: Any, path: DocumentPath) -> Any:
        if isinstance(node, CommentedMap):
            return self._mapping(node, path)
        if isinstance(node, CommentedSeq):
            for index in range(len(node)):
                self.lines[*path, index] = node.lc.item(index)[0] + 1
            return [self.read(value, (*path, index)) for index, value in enumerate(node)]
        return None if node is None else self._scalar(node, path)

    def _mapping(self, node: CommentedMap, path: DocumentPath) -> dict[str, Any]:
        for key in node:
            # Keys that came by a merge (``<<``) have no line of their own.
            if key in (node.lc.data or {}):
                self.lines[*path, str(key)] = node.lc.key(key)[0] + 1
            if not isinstance(key, str):
                message = f"a key of {path_text(path)} is not text; quote it."
                self._refuse((*path, str(key)), message)
        return {str(key): self.read(value, (*path, str(key))) for key, value in node.items()}

    def _scalar(self, node: Any, path: DocumentPath) -> Any:
        # In this order: the library's booleans with an anchor are integers, too.
        for kinds, plain in (
            ((bool, ScalarBoolean), bool),
            ((int,), int),
            ((float,), float),
            ((str,), str),
        ):
            if isinstance(node, kinds) and not (isinstance(node, float) and not isfinite(node)):
                return plain(node)
        self._refuse(path, f"{path_text(path)} is a date, a tag or no finite number; quote it.")
        return None

    def _refuse(self, path: DocumentPath, message: str) -> None:
        self.problems.append(Problem(f"{self.source}:{_nearest(self.lines, path)}", message))


def _violations(document: Document, schema: str, *, confidential: bool) -> list[Problem]:
    found = [
        (document.line(path), message)
        for error in _validator(schema).iter_errors(document.data)
        for path, message in explain(error, confidential=confidential)
    ]
    return [Problem(f"{document.source}:{line}", message) for line, message in sorted(found)]


def _pattern(_: Validator, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    # Python's ``$`` also matches before a final newline; JSON Schema's does not.
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
        yield ValidationError("does not match")


_Validator: type[Validator] = extend(  # type: ignore[no-untyped-call]  # its stubs lack types
    Draft202012Validator, {"pattern": _pattern}
)


@cache
def _validator(schema: str) -> Validator:
    text = resources.files("broker.config").joinpath(schema).read_text(encoding="utf-8")
    return _Validator(json.loads(text))
