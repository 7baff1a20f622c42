"""What the broker knows about a server once it has asked it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """What the broker found out about a server, at its newest connection.

    Attributes:
        version: The major version.
        is_superuser: Whether the broker's role is one.
        data_checksums: Whether data checksums are on.
        can_set_temp_file_limit: Whether the broker may limit temporary files.
    """

    version: int
    is_superuser: bool
    data_checksums: bool
    can_set_temp_file_limit: bool
