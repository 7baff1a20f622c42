"""The platforms that may call the broker.

Belongs here: reading the platforms file, and what user names and passwords must be like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from broker.config.documents import parse_document
from broker.config.files import inline_or_file, read_text
from broker.config.problems import ConfigurationError, attempt
from broker.config.settings import PlatformSettings
from broker.domain.credentials import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from broker.config.documents import Document
    from broker.config.problems import Problem

MIN_PASSWORD_LENGTH = 12


def load_platforms(path: Path) -> tuple[PlatformSettings, ...]:
    """Read a platforms file.

    Raises:
        ConfigurationError: It, or a file it names, cannot be read or used.
    """
    return parse_platforms(read_text(path), str(path), directory=path.parent)


def parse_platforms(text: str, source: str, *, directory: Path) -> tuple[PlatformSettings, ...]:
    """Parse a platforms file.

    Args:
        text: YAML, as described in ``docs/configuration.md``.
        source: What to call it in messages.
        directory: Where the files it names are, if their paths are relative.

    Raises:
        ConfigurationError: It, or a file it names, cannot be used.
    """
    document = parse_document(text, source, schema="platforms.schema.json", confidential=True)
    problems: list[Problem] = []
    platforms = [
        _platform(document, index, entry, directory, problems)
        for index, entry in enumerate(document.data["platforms"])
    ]
    problems += _shared(document, platforms)
    if problems:
        raise ConfigurationError(problems)
    return tuple(platforms)


def credential_problems(username: str, passwords: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Say what is wrong with a platform's user name and passwords.

    Yields:
        ``username`` or ``password``, and what is wrong with it.

    See RFC 7617, section 2: a user name cannot contain a colon, and neither may contain control
    characters.
    """
    if ":" in username or not username.isprintable():
        rule = "must not contain a colon or a control character"
        yield "username", f"{rule}: Basic authentication has no way to send it."
    if any(not password.isprintable() for password in passwords):
        yield "password", "must not contain a control character or a line end."
    if any(len(password) < MIN_PASSWORD_LENGTH for password in passwords):
        rule = f"must have at least {MIN_PASSWORD_LENGTH} characters"
        yield "password", f"{rule}; make one with 'openssl rand -hex 24'."
    if username in passwords:
        yield "password", "must not be the user name."
    if len(set(passwords)) < len(passwords):
        yield "password", "must differ from the one that replaces it."


def _platform(
    document: Document,
    index: int,
    entry: dict[str, Any],
    directory: Path,
    problems: list[Problem],
) -> PlatformSettings:
    path = ("platforms", index)

    def read(key: str, *, required: bool) -> str | None:
        return inline_or_file(document, path, key, directory=directory, required=required)

    first = attempt(problems, lambda: read("password", required=True))
    second = attempt(problems, lambda: read("next_password", required=False))
    passwords = [password for password in (first, second) if password is not None]
    problems.extend(
        document.problem((*path, key), f"{key} {message}")
        for key, message in credential_problems(entry["username"], passwords)
    )
    secrets = tuple(Secret(password) for password in passwords)
    return PlatformSettings(entry["name"], entry["username"], secrets)


def _shared(document: Document, platforms: list[PlatformSettings]) -> Iterator[Problem]:
    for index, platform in enumerate(platforms):
        for key in ("name", "username"):
            earlier = {getattr(other, key) for other in platforms[:index]}
            if getattr(platform, key) in earlier:
                message = f"another platform already has this {key}; each needs its own."
                yield document.problem(("platforms", index, key), message)
