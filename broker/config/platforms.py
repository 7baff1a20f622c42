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
    from collections.abc import Iterator
    from pathlib import Path

    from broker.config.documents import Document
    from broker.config.problems import Problem

MIN_PASSWORD_LENGTH = 12


def load_platforms(path: Path, *, where: str | None = None) -> tuple[PlatformSettings, ...]:
    """Read a platforms file.

    Args:
        path: The file.
        where: What named it, for messages; the file itself when there is nothing else.

    Raises:
        ConfigurationError: It, or a file it names, cannot be read or used.
    """
    return parse_platforms(read_text(path, where=where), str(path), directory=path.parent)


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


def credential_problems(
    username: str, password: str | None, next_password: str | None
) -> Iterator[tuple[str, str]]:
    """Say what is wrong with a platform's user name and passwords.

    Yields:
        The argument's name, and what is wrong with it.

    See RFC 7617, section 2: a user name cannot contain a colon, and neither may contain control
    characters.
    """
    if ":" in username or not username.isprintable():
        rule = "must not contain a colon or a control character"
        yield "username", f"{rule}: Basic authentication has no way to send it."
    for name, value in (("password", password), ("next_password", next_password)):
        if value is None:
            continue
        if not value.isprintable():
            yield name, "must not contain a control character or a line end."
        if len(value) < MIN_PASSWORD_LENGTH:
            rule = f"must have at least {MIN_PASSWORD_LENGTH} characters"
            yield name, f"{rule}; make one with 'openssl rand -hex 24'."
        if value == username:
            yield name, "must not be the user name."
    if next_password is not None and next_password == password:
        yield "next_password", "must differ from the password it will replace."


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
    problems.extend(
        document.problem((*path, _written(entry, key)), f"{key} {message}")
        for key, message in credential_problems(entry["username"], first, second)
    )
    passwords = tuple(Secret(text) for text in (first, second) if text is not None)
    return PlatformSettings(entry["name"], entry["username"], passwords)


def _written(entry: dict[str, Any], key: str) -> str:
    return key if key in entry else f"{key}_file"


def _shared(document: Document, platforms: list[PlatformSettings]) -> Iterator[Problem]:
    for index, platform in enumerate(platforms):
        for key in ("name", "username"):
            earlier = {getattr(other, key) for other in platforms[:index]}
            if getattr(platform, key) in earlier:
                message = f"another platform already has this {key}; each needs its own."
                yield document.problem(("platforms", index, key), message)
