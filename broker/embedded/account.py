"""The operating-system user PostgreSQL runs as: ourselves, or, under root, an unprivileged one."""

from __future__ import annotations

import os
import pwd
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from broker.embedded.errors import EmbeddedPostgresError

if TYPE_CHECKING:
    from pathlib import Path

_CANDIDATES = ("postgres", "nobody")


class Credentials(TypedDict, total=False):
    """The arguments of ``subprocess`` that change who a child runs as."""

    user: int
    group: int
    extra_groups: list[int]


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs PostgreSQL.

    Attributes:
        uid: User id.
        gid: Primary group id; the account is in no other group.
        name: For messages.
        switched: It is not the user we run as, so files have to be handed over.
    """

    uid: int
    gid: int
    name: str
    switched: bool

    @classmethod
    def choose(cls) -> Account:
        """Choose the current user, or under root ``postgres``, else ``nobody``.

        PostgreSQL refuses to run as root (PostgreSQL manual, "The PostgreSQL User Account").

        Raises:
            EmbeddedPostgresError: We are root and there is neither of the two.
        """
        if (uid := os.geteuid()) != 0:
            return cls(uid, os.getegid(), f"user {uid}", switched=False)
        for name in _CANDIDATES:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid, name, switched=True)
        raise EmbeddedPostgresError(
            "PostgreSQL refuses to run as root, and there is no user named "
            f"{' or '.join(_CANDIDATES)} to run it as. Create one, or start pgbroker as an "
            "ordinary user."
        )

    @property
    def credentials(self) -> Credentials:
        """What to pass to ``subprocess`` so that the child runs as this account."""
        if not self.switched:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Hand a file or directory over to the account."""
        if self.switched:
            os.chown(path, self.uid, self.gid)

    def require_access(self, directory: Path, *, remedy: str) -> None:
        """Check that the account can get at a directory.

        Args:
            directory: Absolute; it exists.
            remedy: The last sentence of the message: what to do about it.

        Raises:
            EmbeddedPostgresError: A directory on the way is closed to the account.
        """
        if not self.switched:
            return
        for step in (*reversed(directory.parents), directory):
            if not self._may_enter(step):
                raise EmbeddedPostgresError(
                    f"PostgreSQL cannot run as root and runs as {self.name!r} instead, which may "
                    f"not enter {step} and so cannot reach {directory}. {remedy}"
                )

    def _may_enter(self, directory: Path) -> bool:
        status = directory.stat()
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)
