"""Where the broker is, who calls it, and which certificates are trusted."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from broker.domain.credentials import Secret
from broker.smoke.errors import TargetUnusable

if TYPE_CHECKING:
    from collections.abc import Mapping

USERNAME, PASSWORD = "PGBROKER_USERNAME", "PGBROKER_PASSWORD"
PASSWORD_FILE = f"{PASSWORD}_FILE"


@dataclass(frozen=True, slots=True)
class Target:
    """A broker and how to get in.

    Attributes:
        url: Without credentials and without a slash at its end.
        username: For Basic authentication.
        password: Likewise.
        tls: What the broker's certificate is verified with.
    """

    url: str
    username: str
    password: Secret
    tls: ssl.SSLContext


def find_target(
    url: str, environ: Mapping[str, str], *, ca_file: Path | None = None, insecure: bool = False
) -> Target:
    """Work out where the broker is and which credentials it gets.

    Args:
        url: ``http`` or ``https``; may carry a user name and a password, percent-encoded.
        environ: ``PGBROKER_USERNAME``, ``PGBROKER_PASSWORD`` and ``PGBROKER_PASSWORD_FILE`` stand
            in for what the URL does not carry.
        ca_file: PEM certificates to trust instead of the system's.
        insecure: Accept any certificate.

    Raises:
        TargetUnusable: With what to change.
    """
    parts = _split(url)
    username = unquote(parts.username or "") or environ.get(USERNAME, "")
    if not username:
        raise TargetUnusable(
            f"There is no user name. Put it into the URL, before the host, or into {USERNAME}."
        )
    password = unquote(parts.password or "") or _password(environ)
    location = parts.netloc.rpartition("@")[2]
    # Where platforms were told the whole path, it ends with that of the specification.
    path = parts.path.rstrip("/").removesuffix("/v2")
    bare = urlunsplit((parts.scheme, location, path, "", ""))
    return Target(bare, username, Secret(password), _tls(ca_file, insecure=insecure))


def _split(url: str) -> SplitResult:
    # The URL may hold a password, so no message repeats it.
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise TargetUnusable(
            "The URL is not one of a broker. It looks like https://broker.example.com or "
            "http://user:password@127.0.0.1:8080; special characters in the password are "
            "percent-encoded."
        )
    if parts.query or parts.fragment:
        raise TargetUnusable(
            "The URL has a query or a fragment ('?' or '#'). If these belong to the password, "
            "write them percent-encoded: %3F and %23."
        )
    return parts


def _password(environ: Mapping[str, str]) -> str:
    if PASSWORD in environ and PASSWORD_FILE in environ:
        raise TargetUnusable(f"Both {PASSWORD} and {PASSWORD_FILE} are set; keep one of them.")
    password = environ.get(PASSWORD, "")
    if PASSWORD_FILE in environ:
        file = Path(environ[PASSWORD_FILE])
        try:
            password = file.read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
            raise TargetUnusable(f"{PASSWORD_FILE}: {file} cannot be read: {reason}.") from None
    if not password:
        raise TargetUnusable(
            "There is no password. Put it into the URL, behind the user name and a colon, or into "
            f"{PASSWORD}, or name a file that holds it in {PASSWORD_FILE}."
        )
    return password


def _tls(ca_file: Path | None, *, insecure: bool) -> ssl.SSLContext:
    if insecure and ca_file is not None:
        raise TargetUnusable("--insecure trusts every certificate; leave out it or --ca-file.")
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as exc:
        reason = exc.strerror or "it holds no PEM certificate"
        raise TargetUnusable(f"The CA file {ca_file} cannot be used: {reason}.") from exc
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
