"""Where the embedded PostgreSQL keeps its data and its unpacked binaries."""

from __future__ import annotations

import os
from pathlib import Path

from broker.embedded.errors import EmbeddedPostgresError

# PostgreSQL refuses to run as root, so root starts it as another user, and that user cannot
# enter root's home directory.
_ROOT_DATA = Path("/var/lib/pgbroker")
_ROOT_CACHE = Path("/var/cache/pgbroker")


def default_data_directory() -> Path:
    """Return where ``pgbroker dev`` keeps its cluster.

    Returns:
        ``/var/lib/pgbroker`` for root; otherwise ``pgbroker`` in ``$XDG_DATA_HOME``
        (``~/.local/share``).

    Raises:
        EmbeddedPostgresError: The user has no home directory.
    """
    return _ROOT_DATA if os.geteuid() == 0 else _xdg("XDG_DATA_HOME", ".local/share")


def default_cache_directory() -> Path:
    """Return where unpacked PostgreSQL binaries are kept; it can be deleted at any time.

    Returns:
        ``/var/cache/pgbroker`` for root; otherwise ``pgbroker`` in ``$XDG_CACHE_HOME``
        (``~/.cache``).

    Raises:
        EmbeddedPostgresError: The user has no home directory.
    """
    return _ROOT_CACHE if os.geteuid() == 0 else _xdg("XDG_CACHE_HOME", ".cache")


def _xdg(variable: str, below_home: str) -> Path:
    """Resolve a directory of the XDG Base Directory Specification; relative ones do not count."""
    if (chosen := Path(os.environ.get(variable, ""))).is_absolute():
        return chosen / "pgbroker"
    # An empty HOME is as good as none, but expanduser() would make it the root directory.
    environment_home = os.environ.get("HOME")
    home = Path(environment_home) if environment_home else Path(f"~{_user_name()}").expanduser()
    if not home.is_dir():
        raise EmbeddedPostgresError(
            f"There is no home directory {home} to keep PostgreSQL in. "
            f"Set {variable} to a directory you can write to."
        )
    return home / below_home / "pgbroker"


def _user_name() -> str:
    import pwd  # noqa: PLC0415 - missing where there are no POSIX accounts

    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        raise EmbeddedPostgresError(
            f"The user with the id {os.geteuid()} has no account and HOME is not set. "
            "Set HOME to a directory you can write to."
        ) from None
