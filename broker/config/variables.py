"""The environment variables, all of them.

Belongs here: their names, defaults and meanings, which variables that begin like ours are not
ours, and reading one value with its problems collected.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from broker.config.files import read_secret
from broker.config.problems import Problem, attempt, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_T = TypeVar("_T")

PREFIX = "PGBROKER_"


@dataclass(frozen=True, slots=True)
class Variable:
    """An environment variable.

    Attributes:
        name: Its name.
        default: What is used without it, as an operator would write it; ``None`` is nothing.
        meaning: One line for the documentation.
        secret: It may come from a file: the same name with ``_FILE`` behind it.
    """

    name: str
    default: str | None
    meaning: str
    secret: bool = False


VARIABLES = tuple(
    Variable(PREFIX + name, default, meaning, secret)
    for name, default, meaning, secret in (
        ("STATE_DSN", None, "The broker's own database: a libpq connection string.", True),
        ("SERVERS_FILE", None, "YAML: the servers that hold tenant databases.", False),
        ("CATALOG_FILE", None, "YAML: the catalog; without it, the one pgbroker has.", False),
        ("PLATFORM_NAME", "default", "Name of the one platform.", False),
        ("USERNAME", None, "User name of the one platform.", False),
        ("PASSWORD", None, "Its password, at least 12 characters.", True),
        ("PASSWORD_NEXT", None, "A second password, accepted too while it is rotated.", True),
        (
            "PLATFORMS_FILE",
            None,
            "YAML: several platforms, in place of the one.",
            False,
        ),
        (
            "ENCRYPTION_KEYS",
            None,
            "Comma-separated keys, `id:base64 of 32 bytes`. The first encrypts, all decrypt.",
            True,
        ),
        ("BIND", "127.0.0.1:8080", "Address and port to listen on; IPv6 in brackets.", False),
        ("TLS_CERT_FILE", None, "PEM certificate chain; turns TLS on.", False),
        ("TLS_KEY_FILE", None, "PEM private key of the certificate.", False),
        ("MAX_BODY_BYTES", "1048576", "The largest request body, in bytes.", False),
        (
            "SYNC_WINDOW_SECONDS",
            "50",
            "How long a request waits for its operation before it answers 202.",
            False,
        ),
        (
            "LEASE_SECONDS",
            "30",
            "How long an operation stays with a process that has gone silent.",
            False,
        ),
        (
            "RETRY_SECONDS",
            "900",
            "How long an operation that is polled is repeated while its server is down or full.",
            False,
        ),
        (
            "KEEP_OPERATIONS_SECONDS",
            "604800",
            "How long a finished operation can be polled.",
            False,
        ),
        (
            "QUARANTINE_AFTER_SECONDS",
            "86400",
            "How long a database must have been unknown before it is closed.",
            False,
        ),
        (
            "KEEP_EXPIRED_SECONDS",
            "86400",
            "How long a binding whose credentials have ended is kept for its platform to delete.",
            False,
        ),
        (
            "SERVER_CONNECTIONS",
            "16",
            "The most connections at a time to each server: as many databases are worked on.",
            False,
        ),
        ("LOG_FORMAT", "json", "`json` (one object a line) or `console`.", False),
        ("LOG_LEVEL", "info", "`debug`, `info`, `warning` or `error`.", False),
    )
)

_BY_NAME = {variable.name: variable for variable in VARIABLES}

_OTHERS = re.compile(rf"{PREFIX}(DEV|TEST)_\w+")
"""Settings of ``pgbroker dev`` and of the test suite."""

_SERVICE_LINK = re.compile(
    rf"{PREFIX}(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_[0-9]+_(TCP|UDP|SCTP)(_\w+)?)?)"
)
"""What Kubernetes sets in every pod for a Service whose name begins with ``pgbroker``."""

_SERVICE_PORT = re.compile(r"(tcp|udp|sctp)://.*")


@dataclass(slots=True)
class Environment:
    """The variables of one process, and the problems found in them so far.

    Attributes:
        environ: The process's environment.
        problems: Grows as values are read.
    """

    environ: Mapping[str, str]
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, name: str, message: str) -> None:
        """Note a problem with a variable."""
        self.problems.append(Problem(PREFIX + name, message))

    def given(self, name: str) -> bool:
        """Tell whether a variable is set, in either form."""
        return any(PREFIX + form in self.environ for form in (name, f"{name}_FILE"))

    def text(self, name: str) -> str | None:
        """Return a variable's value, its default, or ``None``; an empty value is a problem.

        Args:
            name: Without the prefix. A secret may be in the file that ``<name>_FILE`` names.
        """
        variable = _BY_NAME[PREFIX + name]
        where = f"{variable.name}_FILE"
        if variable.secret and where in self.environ:
            if variable.name in self.environ:
                self.refuse(name, f"is set, and so is {where}; keep one of them.")
                return None
            file = Path(self.environ[where])
            return attempt(self.problems, lambda: read_secret(file, where=where))
        value = self.environ.get(variable.name, variable.default)
        if value is not None and not value.strip():
            self.refuse(name, "is set, but empty; give it a value or unset it.")
            return None
        return value

    def required(self, name: str) -> str | None:
        """Return a variable's value; a variable that is not set is a problem."""
        variable = _BY_NAME[PREFIX + name]
        if not self.given(name):
            either = f" (nor is {variable.name}_FILE)" if variable.secret else ""
            self.refuse(name, f"is not set{either}. {variable.meaning}")
            return None
        return self.text(name)

    def value(self, name: str, parse: Callable[[str], _T]) -> _T:
        """Return the parsed value of a variable with a default.

        What ``parse`` raises as ``ValueError`` is noted, and the default takes its place so that
        the remaining variables are read, too.
        """
        text = self.text(name)
        try:
            if text is not None:
                return parse(text)
        except ValueError as exc:
            self.refuse(name, str(exc))
        return parse(_BY_NAME[PREFIX + name].default or "")

    def check_names(self) -> None:
        """Note every variable that begins like ours and is none: most are misspelt."""
        known = [variable.name for variable in VARIABLES]
        known += [f"{variable.name}_FILE" for variable in VARIABLES if variable.secret]
        short_names = [name.removeprefix(PREFIX) for name in known]
        for name, value in self.environ.items():
            if name.startswith(PREFIX) and name not in known and not _foreign(name, value):
                # Without the prefix, which makes all of them look alike.
                short = name.removeprefix(PREFIX)
                hint = did_you_mean(short, short_names).replace("'", f"'{PREFIX}", 1)
                self.refuse(
                    short, f"there is no such setting.{hint or ' See docs/configuration.md.'}"
                )


def _foreign(name: str, value: str) -> bool:
    if _OTHERS.fullmatch(name):
        return True
    if not _SERVICE_LINK.fullmatch(name):
        return False
    return not name.endswith("_PORT") or "_SERVICE_" in name or bool(_SERVICE_PORT.match(value))
