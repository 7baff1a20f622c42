"""Rotate the password of the broker's own role on a server: ``pgbroker servers rotate-admin``.

At every moment the role's password is one that is recorded in the state, or the one in the
connection string, so whoever dies here leaves a broker that can log in:

1. Under a lock of the server: find out which password the role has, and forget what it never got.
2. Record the new one, encrypted. Nobody needs it yet.
3. Change the password. From here on, who is refused with the old one finds the new one.
4. Log in with the new one, confirm it in the state and forget the old one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from broker.domain.credentials import generate_login_secret
from broker.domain.errors import PermanentFailure, TemporaryFailure, Unprocessable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.domain.credentials import AdminPassword, Secret


class Session(Protocol):
    """A session of the broker's role that keeps all other rotations on its server away."""

    @property
    def role(self) -> str:
        """The broker's role."""

    async def password(self) -> Secret:
        """Find out which of the passwords known so far the role has."""

    async def change_password(self, verifier: Secret) -> None:
        """Give the role another password.

        Raises:
            Unprocessable: The server has refused, and the password is what it was.
        """

    async def accepts(self, password: Secret) -> bool:
        """Tell whether the role can log in with a password."""


class Records(Protocol):
    """The recorded passwords of the broker's roles."""

    async def passwords(self, server: str, role: str) -> Sequence[AdminPassword]:
        """Read the passwords that the role has or may have, the newest first."""

    async def add_password(self, server: str, role: str, version: int, secret: Secret) -> bool:
        """Record a password that the server is about to get; ``False`` if there is that version."""

    async def confirm_password(self, server: str, role: str, version: int) -> bool:
        """Note that a password is the role's, and forget all older ones.

        Returns:
            ``False`` when it has been forgotten itself: a newer one has been confirmed.
        """

    async def forget_password(self, server: str, role: str, version: int) -> None:
        """Forget a password that the server never got."""


async def rotate_admin(server: str, session: Session, records: Records) -> Secret:
    """Give the broker's role on a server a new random password.

    Args:
        server: The server's configured name.
        session: Holds the server's lock for rotations.
        records: The state.

    Returns:
        The new password, which all replicas find by themselves.

    Raises:
        Unprocessable: The server does not let the role change its password, or does not check it
            itself; the broker logs in as before.
        TemporaryFailure: The server or the state was lost on the way, or another rotation came in
            between. The broker can log in, and it can be rotated again.
    """
    role = session.role
    # In this order: who stands still in between has lost the lock, and must not forget what another
    # rotation has recorded since.
    known = await records.passwords(server, role)
    before = await session.password()
    for recorded in known:
        # The role has one password, and it has that one now: an earlier rotation ended before.
        if not recorded.confirmed and recorded.secret != before:
            await records.forget_password(server, role, recorded.version)
    new = generate_login_secret()
    version = max((recorded.version for recorded in known), default=0) + 1
    if not await records.add_password(server, role, version, new.password):
        raise _overtaken(server, role)
    try:
        await session.change_password(new.verifier)
    except Unprocessable:
        await records.forget_password(server, role, version)
        raise
    if await session.accepts(new.password):
        if not await records.confirm_password(server, role, version):
            raise _overtaken(server, role)
        return new.password
    if await session.accepts(before):
        await records.forget_password(server, role, version)
        raise Unprocessable(
            f"The server {server!r} still lets the role {role!r} in with its former password: "
            "something else checks it (LDAP, RADIUS or PAM, see pg_hba.conf). Change it there."
        )
    raise PermanentFailure(
        f"The password of the role {role!r} was changed, and nobody can log in with it at the "
        f"moment. It is recorded: run `pgbroker servers list` when the server {server!r} is well."
    )


def _overtaken(server: str, role: str) -> TemporaryFailure:
    return TemporaryFailure(
        f"Another rotation of the password of the role {role!r} on the server {server!r} came in "
        "between, and that one counts. Nothing is wrong; rotate again if you have to."
    )
