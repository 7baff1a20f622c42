"""Files that the configuration names.

Belongs here: reading a text file, or a problem that says which file and why not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.config.problems import ConfigurationError, Problem

if TYPE_CHECKING:
    from pathlib import Path

MAX_FILE_BYTES = 4 * 1024 * 1024
"""Far more than any catalog; keeps a device file from filling the memory."""


def read_text(path: Path, *, where: str | None = None) -> str:
    """Read a file of UTF-8 text.

    Args:
        path: The file.
        where: What named it; the file itself when there is nothing else.

    Raises:
        ConfigurationError: It cannot be read, or is no text.
    """
    place = where or str(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as exc:
        reason = (exc.strerror or type(exc).__name__).lower()
        message = f"the file {path} cannot be read: {reason}."
        raise ConfigurationError([Problem(place, message)]) from None
    if len(content) > MAX_FILE_BYTES:
        message = f"the file {path} is larger than {MAX_FILE_BYTES} bytes."
        raise ConfigurationError([Problem(place, message)])
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        message = f"the file {path} is not UTF-8 text."
        raise ConfigurationError([Problem(place, message)]) from None


def read_secret(path: Path, *, where: str) -> str:
    """Read a file that holds one secret; line ends at its end do not belong to it.

    Raises:
        ConfigurationError: It cannot be read, is no text, or is empty.
    """
    secret = read_text(path, where=where).rstrip("\r\n")
    if not secret:
        raise ConfigurationError([Problem(where, f"the file {path} is empty.")])
    return secret
