"""The PostgreSQL servers that hold tenant databases.

Belongs here: reading the servers file, and whether it has a server for every plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.config.connections import authority_problem, dsn_problem
from broker.config.documents import parse_document
from broker.config.files import inline_or_file, read_text
from broker.config.problems import ConfigurationError, attempt
from broker.config.settings import ServerSettings
from broker.config.units import parse_size
from broker.domain.credentials import Secret
from broker.domain.placement import has_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from broker.config.documents import Document
    from broker.config.problems import Problem
    from broker.domain.catalog import Plan

_PLAIN = ("host", "port", "pool", "sslmode", "labels", "max_databases", "max_connections")


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


def no_server_for(plan: Plan, servers: Sequence[ServerSettings]) -> str | None:
    """Say why no server could ever hold databases of a plan; ``None`` when one can."""
    pool = [server for server in servers if server.pool == plan.pool]
    if not pool:
        return (
            f"the plan {plan.name!r} takes its servers from the pool {plan.pool!r}, and no server "
            f"is in it; the servers file has {', '.join(sorted({s.pool for s in servers}))}."
        )
    if not any(has_labels(server.labels, plan) for server in pool):
        wanted = ", ".join(f"{name}: {value}" for name, value in plan.server_labels.items())
        return (
            f"the plan {plan.name!r} requires the labels {wanted}, and no server of the pool "
            f"{plan.pool!r} has them all."
        )
    return None


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
        max_storage=parse_size(entry["max_storage"]) if "max_storage" in entry else None,
        **{key: entry[key] for key in _PLAIN if key in entry},
    )
