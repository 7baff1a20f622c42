"""Files that only their owner can read, written whole or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Draft:
    """A file about to be written: whether it can be is known before there is anything to write.

    Args:
        file: What to write or replace; its directory has to be there.

    Raises:
        OSError: It cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._draft = file.with_name(f"{file.name}.draft")
        self._draft.unlink(missing_ok=True)
        self._descriptor = os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)

    def write(self, text: str) -> None:
        """Write the file; one that is there is replaced in one go, or stays as it is.

        Raises:
            OSError: It cannot be written.
        """
        with os.fdopen(self._descriptor, "w", encoding="utf-8", closefd=False) as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        self._draft.replace(self._file)

    def close(self) -> None:
        """Put away what is not needed any more."""
        os.close(self._descriptor)
        self._draft.unlink(missing_ok=True)


def write_private(file: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    draft = Draft(file)
    try:
        draft.write(text)
    finally:
        draft.close()
