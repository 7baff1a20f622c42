"""An engine that does one step at a time, for tests of the steps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.postgres.engine import PostgresEngine

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from broker.domain.database import DatabaseChange, DatabaseSpec, LoginSpec, Retention
    from broker.domain.drift import Deviation
    from broker.service.ports import DatabaseSession


async def confirmed() -> None:
    """Confirm that the work is ours: nobody else knows of it."""


class StepwiseEngine(PostgresEngine):
    """The engine, with every step as a method that takes the lock for itself alone."""

    async def ensure_roles(self, spec: DatabaseSpec) -> None:
        """Create the group roles."""
        await self._alone(spec.name, lambda database: database.ensure_roles(spec))

    async def ensure_database(self, spec: DatabaseSpec) -> None:
        """Create the database."""
        await self._alone(spec.name, lambda database: database.ensure_database(spec))

    async def initialise_database(self, spec: DatabaseSpec) -> None:
        """Fence and open the database."""
        await self._alone(spec.name, lambda database: database.initialise_database(spec))

    async def deviations(self, spec: DatabaseSpec) -> list[Deviation]:
        """Compare the database and its group roles with what they should be."""
        found: list[Deviation] = []

        async def compare(database: DatabaseSession) -> None:
            found.extend(await database.deviations(spec, ()))

        await self._alone(spec.name, compare)
        return found

    async def change_database(self, change: DatabaseChange) -> None:
        """Apply an update."""
        await self._alone(change.database.name, lambda database: database.change_database(change))

    async def is_changed(self, changed: DatabaseSpec) -> bool:
        """Tell whether a change was made."""
        answers: list[bool] = []

        async def ask(database: DatabaseSession) -> None:
            answers.append(await database.is_changed(changed))

        await self._alone(changed.name, ask)
        return answers[-1]

    async def drop_database(self, spec: DatabaseSpec, logins: Sequence[str]) -> None:
        """Drop the database and its roles."""
        await self._alone(spec.name, lambda database: database.drop_database(spec, logins))

    async def retain_database(self, retention: Retention, logins: Sequence[str] = ()) -> None:
        """Put the database aside."""

        async def retain(database: DatabaseSession) -> None:
            await database.retain_database(retention, logins)

        await self._alone(retention.database.name, retain)

    async def restore_database(self, retention: Retention) -> None:
        """Give a retained database its name and its tag again."""
        await self._alone(
            retention.database.name, lambda database: database.restore_database(retention)
        )

    async def reopen_database(self, spec: DatabaseSpec) -> None:
        """Let logins into a restored database."""
        await self._alone(spec.name, lambda database: database.reopen_database(spec))

    async def purge_database(self, retention: Retention) -> None:
        """Drop a retained database."""
        await self._alone(
            retention.database.name, lambda database: database.purge_database(retention)
        )

    async def ensure_login(self, spec: LoginSpec) -> None:
        """Create a login."""
        await self._alone(spec.database, lambda database: database.ensure_login(spec))

    async def drop_login(self, name: str, *, database: str, owner: str) -> None:
        """Revoke a login."""
        await self._alone(database, lambda session: session.drop_login(name, owner=owner))

    async def forbid_writes(self, database: str, *, owner: str) -> None:
        """Make a full database read-only."""
        await self._alone(database, lambda session: session.forbid_writes(owner=owner))

    async def allow_writes(self, logins: Collection[str], *, database: str, owner: str) -> None:
        """Make it writable again."""
        await self._alone(database, lambda session: session.allow_writes(logins, owner=owner))

    async def _alone(
        self, database: str, step: Callable[[DatabaseSession], Awaitable[None]]
    ) -> None:
        await self.exclusively(database, step, confirm=confirmed)
