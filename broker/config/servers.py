"""The PostgreSQL servers that hold tenant databases.

Belongs here: reading the servers file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.config.connections import authority_problem, dsn_problem
from broker.config.documents import parse_document
from broker.config.files import inline_or_file, read_text
from broker.config.problems import ConfigurationError, attempt
from broker.config.settings import ServerSettings
from broker.domain.credentials import Secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from broker.config.documents import Document
    from broker.config.problems import Problem

_PLAIN = ("host", "port", "pool", "sslmode", "max_databases")


def load_servers(path: Path, *, where: str | None = None) -> tuple[ServerSettings, ...]:
    """Read a servers file.

    Args:
        path: The file.
        where: What named it, for messages; the file itself when there is nothing else.

    Raises:
        ConfigurationError: It, or a file it names, cannot be read or used.
    """
    return parse_servers(read_text(path, where=where), str(path), directory=path.parent)


def parse_servers(text: str, source: str, *, directory: Path) -> tuple[ServerSettings, ...]:
    """Parse a servers file.

    Args:
        text: YAML, as described in ``docs/configuration.md``.
        source: What to call it in messages.
        directory: Where the files it names are, if their paths are relative.

    Raises:
        ConfigurationError: It, or a file it names, cannot be used.
    """
    document = parse_document(text, source, schema="servers.schema.json", confidential=True)
    problems: list[Problem] = []
    servers = []
    names: set[str] = set()
    for index, entry in enumerate(document.data["servers"]):
        if entry["name"] in names:
            message = f"another server is already called {entry['name']!r}."
            problems.append(document.problem(("servers", index, "name"), message))
        names.add(entry["name"])
        servers.append(_server(document, index, entry, directory, problems))
    if problems:
        raise ConfigurationError(problems)
    return tuple(servers)


def _server(
    document: Document,
    index: int,
    entry: dict[str, Any],
    directory: Path,
    problems: list[Problem],
) -> ServerSettings:
    path = ("servers", index)

    def read(key: str, check: Callable[[str], str | None], *, required: bool) -> str | None:
        value = attempt(
            problems,
            lambda: inline_or_file(document, path, key, directory=directory, required=required),
        )
        wrong = None if value is None else check(value)
        if wrong is not None:
            given = key if key in entry else f"{key}_file"
            problems.append(document.problem((*path, given), f"{given}: {wrong}"))
        return value

    dsn = read("admin_dsn", dsn_problem, required=True)
    return ServerSettings(
        name=entry["name"],
        admin_dsn=Secret(dsn or ""),
        ca_certificate=read("ca_certificate", authority_problem, required=False),
        **{key: entry[key] for key in _PLAIN if key in entry},
    )
