"""The work on one database: the protocol ``DatabaseSession`` of ``broker/service/ports``.

Belongs here: one method per step, done by whoever has the lock of the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.domain.errors import Unprocessable, UpdateRefused
from broker.postgres import databases, logins, mend, quota, retag, retention, retire, spare, warm
from broker.postgres.inventory import take_inventory

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from broker.domain.database import (
        DatabaseChange,
        DatabaseSpec,
        LoginSpec,
        Retagging,
        Retention,
    )
    from broker.domain.drift import Deviation
    from broker.domain.inventory import Inventory
    from broker.postgres.connections import Connections
    from broker.postgres.hold import Hold


@dataclass(slots=True)
class Activity:
    """What is being done, for errors to name it.

    Attributes:
        doing: Completes "could not ...".
        committing: The COMMIT of a change has been sent, and not been answered.
        unknown: Its answer was lost.
    """

    doing: str
    committing: bool = False
    unknown: bool = False

    def commit(self) -> None:
        """Know that COMMIT is being sent."""
        self.committing = True


class ExclusiveSession:
    """The steps on one database, under its lock.

    Args:
        connections: To the server.
        hold: The lock.
        activity: Told what is being done.
    """

    def __init__(self, connections: Connections, hold: Hold, activity: Activity) -> None:
        self._connections = connections
        self._hold = hold
        self._activity = activity

    async def adopt_database(
        self, spec: DatabaseSpec, stock_tag: str, *, in_part: bool = True
    ) -> bool:
        """Tag what still has the tag of the warm stock as the instance's.

        Returns:
            Whether nobody can have been in it before.
        """
        self._activity.doing = "take a database from the warm stock"
        return await warm.adopt_database(self._hold, spec, stock_tag, in_part=in_part)

    async def ensure_roles(self, spec: DatabaseSpec) -> None:
        """Create the owner role and the read-only group role.

        Raises:
            Unprocessable: The server cannot create a database with these options.
        """
        self._activity.doing = "create the roles of a database"
        await databases.ensure_roles(self._hold, spec)

    async def ensure_database(self, spec: DatabaseSpec) -> None:
        """Create the database: nobody can connect to it yet.

        Raises:
            Unprocessable: The server cannot create a database with these options.
        """
        self._activity.doing = "create a database"
        await databases.ensure_database(self._hold, spec)

    async def initialise_database(self, spec: DatabaseSpec) -> None:
        """Fence the database, set its limits, prepare schema ``public``, install extensions.

        Raises:
            Unprocessable: The server cannot install one of the extensions.
        """
        self._activity.doing = "prepare a new database"
        await databases.initialise_database(self._connections, self._hold, spec)

    async def change_database(self, change: DatabaseChange) -> None:
        """Apply an update in one transaction: all of it or, when it raises, nothing.

        Raises:
            UpdateRefused: PostgreSQL will not do it; the description says why.
            OutcomeUnknown: The answer to COMMIT was lost, raised by whoever holds the lock.
        """
        self._activity.doing = "change a database"
        try:
            await databases.change_database(
                self._connections, self._hold, change, before_commit=self._activity.commit
            )
        except Unprocessable as exc:
            raise UpdateRefused(
                exc.description, instance_usable=True, update_repeatable=True
            ) from exc
        self._activity.committing = False

    async def is_changed(self, changed: DatabaseSpec) -> bool:
        """Tell whether an earlier attempt has made a change, having ended what is left of it."""
        self._activity.doing = "find out whether a database was changed"
        made = await databases.is_changed(self._hold, changed)
        self._activity.unknown = False
        return made

    async def drop_database(self, spec: DatabaseSpec, logins: Sequence[str]) -> None:
        """Drop the database, whoever is connected, then these login roles and the group roles."""
        self._activity.doing = "drop a database"
        await retire.drop_database(self._connections, self._hold, spec, logins)

    async def drop_spare(self, spec: DatabaseSpec) -> None:
        """Drop a database of the warm stock that no record knows, if nobody has ever used it.

        Raises:
            PermanentFailure: It is not of the stock, or is in use; nothing has been changed.
        """
        self._activity.doing = "drop a database of the warm stock"
        await spare.drop_spare(self._connections, self._hold, spec)

    async def retain_database(self, retained: Retention, logins: Sequence[str]) -> bool:
        """Drop these login roles, let nobody in any more, and put the database aside.

        Returns:
            ``False`` when there was nothing that could be kept.
        """
        self._activity.doing = "put a database aside"
        return await retention.retain(self._connections, self._hold, retained, logins)

    async def restore_database(self, retained: Retention) -> None:
        """Give a retained database and its roles their names and the instance's tag again."""
        self._activity.doing = "restore a database"
        await retention.restore(self._hold, retained)

    async def reopen_database(self, spec: DatabaseSpec) -> None:
        """Let logins into a restored database, under the limits of its plan.

        Raises:
            Unprocessable: The server cannot install one of the extensions.
        """
        self._activity.doing = "open a restored database"
        await retention.reopen(self._connections, self._hold, spec)

    async def purge_database(self, retained: Retention) -> None:
        """Drop a retained database with its group roles."""
        self._activity.doing = "drop a retained database"
        await retention.purge(self._connections, self._hold, retained)

    async def ensure_login(self, spec: LoginSpec) -> None:
        """Create a login role with exactly this password, limits and expiry."""
        self._activity.doing = "create a login"
        await logins.ensure_login(self._connections, self._hold, spec)

    async def drop_login(self, name: str, *, owner: str) -> None:
        """Revoke a login: end its sessions, hand what it owns to the owner role, drop it."""
        self._activity.doing = "revoke a login"
        await retire.drop_login(self._connections, self._hold, name, owner)

    async def forbid_writes(self, *, owner: str) -> None:
        """Make every login read-only, and take away what else they could write with."""
        self._activity.doing = "make a full database read-only"
        await quota.forbid_writes(self._connections, self._hold, owner)

    async def allow_writes(self, logins: Collection[str], *, owner: str) -> None:
        """Let these logins write again."""
        self._activity.doing = "make a database writable again"
        await quota.allow_writes(self._connections, self._hold, owner, logins)

    async def listed(self, roles: Sequence[str], *, database: str | None = None) -> Inventory:
        """List the database and those of these roles that are the broker's, as they are now."""
        self._activity.doing = "look at a database"
        hold = self._hold
        name = database or hold.database
        return await take_inventory(hold.connection, database=name, roles=roles)

    async def deviations(
        self, spec: DatabaseSpec, logins: Sequence[LoginSpec]
    ) -> Sequence[Deviation]:
        """Compare the database, its group roles and these logins with what they should be."""
        self._activity.doing = "look at a database"
        return await mend.find_deviations(self._connections, self._hold, spec, logins)

    async def mend(
        self, spec: DatabaseSpec, logins: Sequence[LoginSpec]
    ) -> tuple[Sequence[Deviation], Sequence[Deviation]]:
        """Repair what differs, as far as that is safe; return what differed, and what still does.

        Drops nothing, and changes no password.
        """
        self._activity.doing = "repair a database"
        return await mend.mend(self._connections, self._hold, spec, logins)

    async def quarantine_database(self, tag: str) -> bool:
        """Close the database and end its sessions; ``False`` when there is nothing to do."""
        self._activity.doing = "close a database"
        return await mend.quarantine_database(self._hold, self._hold.database, tag)

    async def quarantine_login(self, name: str) -> bool:
        """Close a login and end its sessions; ``False`` when there is none."""
        self._activity.doing = "close a login"
        return await mend.quarantine_login(self._connections, self._hold, name)

    async def retag(self, retagging: Retagging) -> None:
        """Write the comments on the database and its roles anew, all of them or none."""
        self._activity.doing = "change the tags of a database"
        await retag.retag(self._hold, retagging)
