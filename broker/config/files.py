"""Files that the configuration names.

Belongs here: reading a text file, or a problem that says which file and why not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.config.problems import ConfigurationError, Problem

if TYPE_CHECKING:
    from pathlib import Path

    from broker.config.documents import Document, DocumentPath

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


def inline_or_file(
    document: Document, path: DocumentPath, key: str, *, directory: Path, required: bool = False
) -> str | None:
    """Return a value that stands in a document, or in a file that the document names.

    Args:
        document: What the operator wrote.
        path: Where the entry is in it.
        key: Its key for the value itself; the one for a file ends in ``_file``.
        directory: What a relative file name is relative to.
        required: One of the two keys has to be there.

    Raises:
        ConfigurationError: Both are there, none is though it has to be, or the file cannot be used.
    """
    entry = document.at(path)
    inline, file = entry.get(key), entry.get(f"{key}_file")
    if inline is not None and file is not None:
        message = f"has both {key} and {key}_file; keep one of them."
        raise ConfigurationError([document.problem((*path, f"{key}_file"), message)])
    if file is not None:
        return read_secret(directory / file, where=document.where((*path, f"{key}_file")))
    if inline is None and required:
        message = f"lacks {key}, or {key}_file with the name of a file that holds it."
        raise ConfigurationError([document.problem(path, message)])
    return None if inline is None else str(inline)
