"""What is wrong with a configuration, all of it at once.

Belongs here: the record of one problem, and the exception that carries all of them.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to correct.

    Attributes:
        where: The environment variable, or the file and line (``catalog.yaml:42``).
        message: What is wrong and what is allowed. Never carries a secret.
    """

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class ConfigurationError(Exception):
    """The configuration cannot be used.

    ``str()`` is a list for the operator's terminal, one problem a line.

    Attributes:
        problems: At least one, in the order in which a reader would look for them.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        heading = "1 problem" if count == 1 else f"{count} problems"
        lines = (f"  {problem}" for problem in self.problems)
        super().__init__("\n".join([f"{heading} in the configuration:", *lines]))


def attempt(problems: list[Problem], read: Callable[[], _T]) -> _T | None:
    """Return what ``read`` returns; if it fails, add its problems to the list, for ``None``."""
    try:
        return read()
    except ConfigurationError as exc:
        problems.extend(exc.problems)
        return None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for a word that resembles a known one, else ``""``."""
    matches = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" Did you mean {matches[0]!r}?" if matches else ""
