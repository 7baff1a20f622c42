"""What happens on a PostgreSQL server, as protocols; ``broker/postgres`` supplies them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from broker.domain.database import DatabaseChange, DatabaseSpec, LoginSpec, Retagging, Retention
    from broker.domain.drift import Deviation
    from broker.domain.inventory import Inventory
    from broker.domain.placement import Vitals


class DatabaseSession(Protocol):
    """What may be done to one database by whoever has its lock. Every method can be repeated.

    Each looks first, acts, accepts "already so", and raises
    ``TemporaryFailure`` when the server is down, full or locked, ``Unprocessable`` when the user
    asked for something this server cannot do, and ``PermanentFailure`` otherwise.
    """

    async def adopt_database(
        self, spec: DatabaseSpec, stock_tag: str, *, in_part: bool = True
    ) -> bool:
        """Tag what still has the tag of the warm stock as the instance's.

        When that was all of a database, the steps below find it finished.

        Args:
            spec: The database as it shall be.
            stock_tag: What it and its roles were tagged with in the stock.
            in_part: Also when some of it was changed or dropped in the stock; otherwise that is a
                temporary failure, until whoever adopts it in the background has put it right.

        Returns:
            Whether nobody can have been in it before: it had the tag of the stock, or is missing
            and never had the instance's.
        """

    async def ensure_roles(self, spec: DatabaseSpec) -> None:
        """Create the owner role and the read-only group role."""

    async def ensure_database(self, spec: DatabaseSpec) -> None:
        """Create the database: nobody can connect to it yet."""

    async def initialise_database(self, spec: DatabaseSpec) -> None:
        """Fence the database, set its limits, prepare schema ``public``, install extensions."""

    async def change_database(self, change: DatabaseChange) -> None:
        """Apply an update in one transaction: all of it or, when it raises, nothing.

        When the server goes away during COMMIT, nobody knows (``Engine.exclusively``).

        Raises:
            UpdateRefused: PostgreSQL will not do it; the description says why.
        """

    async def is_changed(self, changed: DatabaseSpec) -> bool:
        """Tell whether an earlier attempt has made a change, having ended what is left of it.

        Args:
            changed: What it leads to; limits and options play no part.
        """

    async def drop_database(self, spec: DatabaseSpec, logins: Sequence[str]) -> None:
        """Drop the database, whoever is connected, then these login roles and the group roles.

        The tag proves that it is ours; limits, extensions and options play no part.
        """

    async def drop_spare(self, spec: DatabaseSpec) -> None:
        """Drop a database of the warm stock that no record knows, with its group roles.

        Raises:
            PermanentFailure: Not all of it has the tag, somebody is connected or has a login, or
                something was made in it; nothing has been changed.
        """

    async def retain_database(self, retained: Retention, logins: Sequence[str]) -> bool:
        """Drop these login roles, let nobody in any more, and put the database aside.

        Returns:
            ``False`` when there was nothing that could be kept: what is missing on the server, or
            was dropped by half, is cleared away.
        """

    async def restore_database(self, retained: Retention) -> None:
        """Give a retained database and its roles their names and the instance's tag again."""

    async def reopen_database(self, spec: DatabaseSpec) -> None:
        """Let logins into a restored database, under the limits of its plan.

        Raises:
            Unprocessable: The server cannot install one of the extensions.
        """

    async def purge_database(self, retained: Retention) -> None:
        """Drop a retained database with its group roles."""

    async def ensure_login(self, spec: LoginSpec) -> None:
        """Create a login role with exactly this password, limits and expiry."""

    async def drop_login(self, name: str, *, owner: str) -> None:
        """Revoke a login: end its sessions, hand what it owns to the owner role, drop it."""

    async def forbid_writes(self, *, owner: str) -> None:
        """Make every login read-only, and take away what else they could write with."""

    async def allow_writes(self, logins: Collection[str], *, owner: str) -> None:
        """Let these logins write again: those that were made for it."""

    async def listed(self, roles: Sequence[str], *, database: str | None = None) -> Inventory:
        """List the database and those of these roles that are the broker's, as they are now.

        Args:
            roles: Their names.
            database: The name that the database has while it is kept after its deletion.
        """

    async def deviations(
        self, spec: DatabaseSpec, logins: Sequence[LoginSpec]
    ) -> Sequence[Deviation]:
        """Compare the database, its group roles and these logins with what they should be."""

    async def mend(
        self, spec: DatabaseSpec, logins: Sequence[LoginSpec]
    ) -> tuple[Sequence[Deviation], Sequence[Deviation]]:
        """Repair what differs, as far as that is safe; return what differed, and what still does.

        Drops nothing, and changes no password.
        """

    async def quarantine_database(self, tag: str) -> bool:
        """Close the database and end its sessions; ``False`` when there is nothing to do."""

    async def quarantine_login(self, name: str) -> bool:
        """Close a login and end its sessions; ``False`` when there is none."""

    async def retag(self, retagging: Retagging) -> None:
        """Write the comments on the database and its roles anew, all of them or none."""


class Engine(Protocol):
    """What happens on one PostgreSQL server."""

    async def exclusively(
        self,
        database: str,
        work: Callable[[DatabaseSession], Awaitable[object]],
        *,
        confirm: Callable[[], Awaitable[None]],
    ) -> None:
        """Work on one database while every other replica is kept away from it.

        The whole of it, lock and confirmation included, is repeated after a collision or when
        the connection was lost.

        Args:
            database: The database's name; it need not exist.
            work: What to do.
            confirm: Awaited each time the lock has been granted, and before anything is done. What
                it raises is raised, and nothing has been changed: it is how somebody who was
                halted or frozen in the meantime finds out.

        Raises:
            TemporaryFailure: The server is down or full, or the lock stays taken.
            OutcomeUnknown: The answer to the COMMIT of a change was lost. Whoever begins again is
                to find out first (``DatabaseSession.is_changed``).
        """

    async def database_size(self, database: str) -> int:
        """Return the bytes the database occupies."""

    async def vitals(self) -> Vitals:
        """Ask the server over a new connection how it is.

        Raises:
            ServerUnavailable: It does not answer, or lets the broker not in.
        """

    async def sizes(self) -> dict[str, int]:
        """Return the bytes that each database of the broker's occupies, by name."""

    async def inventory(self) -> Inventory:
        """List what the server holds of the broker's, without a lock."""

    async def end_expired_sessions(self) -> dict[str, int]:
        """Disconnect the logins whose ``VALID UNTIL`` has passed; return how many sessions."""
