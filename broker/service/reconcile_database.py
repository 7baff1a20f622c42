"""Reconcile one instance with its database, under the lock of the database."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker.domain.drift import Deviation, DriftKind
from broker.domain.instance import BindingKey, Instance, Status
from broker.domain.inventory import is_quarantined
from broker.domain.storage import StorageState
from broker.service.specs import NO_LIMITS, database_spec, login_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from broker.domain.catalog import Catalog
    from broker.domain.instance import Binding
    from broker.domain.inventory import Inventory
    from broker.service.ports import Census, DatabaseSession, Store, Tags


_INSTANCE_NOT_MADE = (
    "Creating this instance failed, and parts of it may be there. Delete it on its platform."
)
_BINDING_NOT_MADE = (
    "Creating this binding failed, and its login may be there. Unbind it on its platform."
)
_INSTANCE = {
    Status.CREATING: _INSTANCE_NOT_MADE,
    Status.FAILED: _INSTANCE_NOT_MADE,
    Status.DELETING: "Deleting this instance failed. Delete it on its platform again.",
}
_BINDING = {
    Status.CREATING: _BINDING_NOT_MADE,
    Status.FAILED: _BINDING_NOT_MADE,
    Status.DELETING: "Revoking this login failed, and it may still work. Unbind it again.",
}
"""What is said of something that nobody is at work on, by its status."""


class InProgress(Exception):
    """An operation is in progress: whatever is on the server, it is not drift."""


class CheckedDatabase:
    """An instance and what was found of it.

    Attributes:
        found: What was different, and whether it is not any more.
    """

    def __init__(
        self,
        census: Census,
        store: Store,
        catalog: Catalog,
        tags: Tags,
        *,
        instance: Instance,
        inventory: Inventory,
        apply: bool,
        may_close: Callable[[str], bool],
    ) -> None:
        """Prepare to look.

        Args:
            census: Reads the bindings, and whether something is in progress.
            store: Reads the instance again.
            catalog: The plans.
            tags: Made and opened with the configured keys.
            instance: As it was when all were listed.
            inventory: Of the server, taken before the instances were listed.
            apply: Whether to repair.
            may_close: Whether a login that no binding has may be quarantined by now.
        """
        self._census = census
        self._store = store
        self._catalog = catalog
        self._tags = tags
        self._instance = instance
        self._inventory = inventory
        self._apply = apply
        self._may_close = may_close
        self.found: list[tuple[Deviation, bool]] = []

    async def confirm(self) -> None:
        """Make sure that nothing is in progress.

        Asked before the records are read: who records an operation from now on waits for the lock,
        and who was at work before has written down by then what came of it.

        Raises:
            InProgress: Something is.
        """
        if await self._census.busy(self._instance.key):
            raise InProgress

    async def work(self, session: DatabaseSession) -> None:
        """Compare, and repair if that was ordered."""
        self.found = []
        instance = await self._store.instance(self._instance.key)
        if instance is None or instance.database != self._instance.database:
            return  # it has been deleted in the meantime
        bindings = await self._census.bindings(instance.key)
        if instance.status is Status.DELETING:
            await self._finish_drop(session, instance, bindings)
        if instance.status is Status.READY:
            await self._compare(session, instance, bindings)
        self._note_unfinished(instance.status, instance.database, _INSTANCE)
        for binding in bindings:
            self._note_unfinished(binding.status, binding.login, _BINDING)
        await self._close_logins(session, instance, bindings)

    def _note_unfinished(
        self, status: Status, subject: str, explanations: Mapping[Status, str]
    ) -> None:
        """Report what failed half-way: nothing is in progress, so nobody is at work on it."""
        if status in explanations:
            deviation = Deviation(DriftKind.UNFINISHED, subject, explanations[status])
            self.found.append((deviation, False))

    async def _compare(
        self, session: DatabaseSession, instance: Instance, bindings: Sequence[Binding]
    ) -> None:
        plan = self._catalog.find_plan(instance.service_id, instance.plan_id)
        if plan is None:
            # Nobody knows what its limits should be, but it should be there.
            if instance.database not in (await session.listed([])).databases:
                detail = "The database does not exist. Restore it, or delete the service instance."
                missing = Deviation(DriftKind.DATABASE_MISSING, instance.database, detail)
                self.found.append((missing, False))
            return
        if (newer := self._newer_plan(instance)) is not None:
            detail = (
                f"The server says that it has the plan {newer} since, which the state does not "
                "know: it may be an older backup. Nothing is compared or repaired until the "
                "instance is updated to that plan again."
            )
            outdated = Deviation(DriftKind.OUTDATED_STATE, instance.database, detail)
            self.found.append((outdated, False))
            return
        spec = database_spec(instance, plan.limits, self._tags)
        logins = [
            # What a tenant has made of its password is not ours to change.
            replace(login_spec(instance, binding, plan.limits, self._tags), verifier=None)
            for binding in bindings
            if binding.status is Status.READY
            # Which of them may write is being changed by whoever watches the storage limit.
            and instance.storage is not StorageState.RELEASING
        ]
        if self._apply:
            before, after = await session.mend(spec, logins)
        else:
            before = after = await session.deviations(spec, logins)
        left = {(deviation.kind, deviation.subject) for deviation in after}
        self.found += [(one, (one.kind, one.subject) not in left) for one in before]

    def _newer_plan(self, instance: Instance) -> str | None:
        """Return the id of the plan that an instance has had since, by its record on the server."""
        role = self._inventory.roles.get(instance.owner)
        if role is None:
            return None
        recorded = self._tags.recover_instance(role.comment, database=instance.database)
        return recorded.plan_id if recorded and recorded.is_newer_than(instance) else None

    async def _finish_drop(
        self, session: DatabaseSession, instance: Instance, bindings: Sequence[Binding]
    ) -> None:
        """Complete a DROP that was asked for and interrupted; the platform repeats its request."""
        listed = (await session.listed([])).databases.get(instance.database)
        if listed is None or not listed.half_dropped:
            return
        if self._apply:
            spec = database_spec(instance, NO_LIMITS, self._tags)
            await session.drop_database(spec, [binding.login for binding in bindings])
        detail = "The database has been dropped by half, as its platform asked."
        deviation = Deviation(DriftKind.HALF_DROPPED, instance.database, detail)
        self.found.append((deviation, self._apply))

    async def _close_logins(
        self, session: DatabaseSession, instance: Instance, bindings: Sequence[Binding]
    ) -> None:
        """Quarantine the logins that say they are this instance's, and that no binding has."""
        known = {binding.login for binding in bindings}
        suspects = [
            role.name
            for role in self._inventory.roles.values()
            if role.name not in known and self._is_login_of(role.comment, instance)
        ]
        if not suspects:
            return
        for role in (await session.listed(suspects)).roles.values():
            closed = is_quarantined(role.comment) and not role.can_login
            if self._apply and not closed and self._may_close(role.name):
                closed = await session.quarantine_login(role.name)
            detail = "No binding has this login. Unbind it on its platform, or drop the role."
            deviation = Deviation(DriftKind.UNKNOWN_LOGIN, role.name, detail)
            self.found.append((deviation, closed))

    def _is_login_of(self, comment: str, instance: Instance) -> bool:
        whose = self._tags.open(comment)
        return isinstance(whose, BindingKey) and whose.instance == instance.key
