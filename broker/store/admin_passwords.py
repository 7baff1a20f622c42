"""The passwords that the broker's own roles on servers were changed to, encrypted.

Belongs here: those statements, and what runs them. When they are written is the business of
``broker/service/rotate_admin.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, func, select, true, update
from sqlalchemy.dialects.postgresql import insert

from broker.domain.credentials import AdminPassword, Secret
from broker.store.tables import server_passwords

if TYPE_CHECKING:
    from broker.store.encryption import KeyRing
    from broker.store.execution import Execute

_of_role = (server_passwords.c.server == bindparam("key_server")) & (
    server_passwords.c.role == bindparam("key_role")
)
_this = _of_role & (server_passwords.c.version == bindparam("key_version"))
_PASSWORDS = select(server_passwords).where(_of_role).order_by(server_passwords.c.version.desc())
_ADD_PASSWORD = (
    insert(server_passwords)
    .values(
        {
            part.key: bindparam(part.key, type_=part.type)
            for part in server_passwords.c
            if part.key not in {"created_at", "confirmed_at"}
        }
        | {"created_at": func.clock_timestamp()}
    )
    .on_conflict_do_nothing()
    .returning(true())
)
# Nothing newer is ever forgotten: a rotation that stood still, and so has lost its lock, may
# confirm what another one has replaced meanwhile.
_confirmed = (
    update(server_passwords)
    .where(_this)
    .values(confirmed_at=func.clock_timestamp())
    .returning(server_passwords.c.version)
    .cte("confirmed")
)
_older = (
    delete(server_passwords)
    .where(_of_role, server_passwords.c.version < select(_confirmed.c.version).scalar_subquery())
    .returning(true())
    .cte("older")
)
_CONFIRM_PASSWORD = select(_confirmed.c.version).add_cte(_older)
_FORGET_PASSWORD = delete(server_passwords).where(_this)


class AdminPasswords:
    """The recorded passwords; every method is one statement.

    Args:
        execute: Runs a statement.
        keys: Encrypts and decrypts the passwords.
    """

    def __init__(self, execute: Execute, keys: KeyRing) -> None:
        self._execute = execute
        self._keys = keys

    async def passwords(self, server: str, role: str) -> list[AdminPassword]:
        """Read the passwords that the broker's role has or may have, the newest first."""
        found = await self._execute(_PASSWORDS, {"key_server": server, "key_role": role})
        return [
            AdminPassword(
                row.version,
                Secret(
                    self._keys.decrypt(
                        row.secret_key_id,
                        row.secret,
                        place=_place(server, role, row.version),
                    ).decode()
                ),
                row.confirmed_at is not None,
            )
            for row in found
        ]

    async def add_password(self, server: str, role: str, version: int, secret: Secret) -> bool:
        """Record a password that the server is about to get; ``False`` if there is that version."""
        key_id, sealed = self._keys.encrypt(
            secret.reveal().encode(), place=_place(server, role, version)
        )
        values = {
            "server": server,
            "role": role,
            "version": version,
            "secret": sealed,
            "secret_key_id": key_id,
        }
        return (await self._execute(_ADD_PASSWORD, values)).first() is not None

    async def confirm_password(self, server: str, role: str, version: int) -> bool:
        """Note that a password is the role's, and forget all older ones.

        Returns:
            ``False`` when it has been forgotten itself: a newer one has been confirmed.
        """
        key = {"key_server": server, "key_role": role, "key_version": version}
        return (await self._execute(_CONFIRM_PASSWORD, key)).first() is not None

    async def forget_password(self, server: str, role: str, version: int) -> None:
        """Forget a password that the server never got."""
        key = {"key_server": server, "key_role": role, "key_version": version}
        await self._execute(_FORGET_PASSWORD, key)


def _place(server: str, role: str, version: int) -> tuple[str, ...]:
    return (server_passwords.name, "secret", server, role, str(version))
