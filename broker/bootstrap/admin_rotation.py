"""Rotating the broker's own password on a server, for ``pgbroker servers rotate-admin``."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from broker.bootstrap.fleet import admin_login, operated
from broker.bootstrap.private_file import Draft
from broker.bootstrap.servers import find_server
from broker.domain.errors import InvalidRequest, PermanentFailure, Unprocessable
from broker.postgres.rotation import rotating
from broker.service.rotate_admin import rotate_admin

if TYPE_CHECKING:
    from pathlib import Path

    from broker.config import Settings
    from broker.postgres.rotation import AdminSession


async def rotate(settings: Settings, name: str, *, dsn_file: Path | None = None) -> None:
    """Give the broker's role on a server a new random password.

    Args:
        settings: Of the broker.
        name: The server.
        dsn_file: Gets the connection string with the new password, readable by its owner only.

    Raises:
        NotFound: There is no server of that name.
        Unprocessable: The password is not the broker's to change, or others depend on it.
        InvalidRequest: The file cannot be written; nothing has been changed.
        BrokerError: The server or the state cannot be reached.
    """
    server = find_server(settings.servers, name)
    async with AsyncExitStack() as stack:
        _, store = await stack.enter_async_context(operated(settings))
        login = admin_login(server, store.admin_passwords)
        draft = None if dsn_file is None else _draft(dsn_file)
        if draft is not None:
            stack.callback(draft.close)
        session = await stack.enter_async_context(rotating(name, login))
        await _check_dependents(settings, name, session)
        password = await rotate_admin(name, session, store.admin_passwords)
        if draft is not None:
            _write(draft, login.with_password(password))


def _draft(file: Path) -> Draft:
    if file.is_dir():
        raise InvalidRequest(
            f"{file} is a directory; name the file to be written. Nothing has been changed."
        )
    try:
        return Draft(file)
    except OSError as exc:
        raise InvalidRequest(
            f"{file} cannot be written: {exc.strerror}. Nothing has been changed."
        ) from exc


def _write(draft: Draft, dsn: str) -> None:
    try:
        draft.write(f"{dsn}\n")
    except OSError as exc:
        raise PermanentFailure(
            f"The password was changed, but the file could not be written: {exc.strerror}. The "
            "broker has the new password; rotate again to get it into a file."
        ) from exc


async def _check_dependents(settings: Settings, name: str, session: AdminSession) -> None:
    """Refuse when somebody else would be locked out.

    Raises:
        Unprocessable: The state database, or another entry of the servers file, is reached with
            the same role on the same server.
    """
    own = "Give each a role of its own, or change the password by hand, at all places at once."
    if await session.serves(settings.state_dsn.reveal()):
        raise Unprocessable(
            f"The broker reaches its state database with the same role {session.role!r} on the "
            f"same server {name!r}, and would be locked out of it: its password is in "
            f"PGBROKER_STATE_DSN alone. {own}"
        )
    for other in settings.servers:
        if other.name != name and await session.serves(other.admin_dsn.reveal()):
            raise Unprocessable(
                f"The servers {name!r} and {other.name!r} of the servers file are one PostgreSQL "
                f"server with the same role {session.role!r}. {own}"
            )
