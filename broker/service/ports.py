"""What the service needs from the outside world, as protocols; ``bootstrap`` supplies them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime, timedelta
    from uuid import UUID

    from broker.domain.catalog import Plan
    from broker.domain.database import (
        DatabaseChange,
        DatabaseSpec,
        Endpoint,
        LoginSpec,
        Retagging,
        Retention,
    )
    from broker.domain.deleted import DeletedInstance, DeletedKey
    from broker.domain.drift import Deviation, Drift, DriftKind
    from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey, Status
    from broker.domain.inventory import Inventory
    from broker.domain.operation import Operation, Work
    from broker.domain.placement import Occupancy, Vitals
    from broker.service.deleted_ports import DeletedRecords, DeletedRecordsTransaction
    from broker.service.storage import StorageRecords
    from broker.service.warm_ports import WarmRecords


class DatabaseSession(Protocol):
    """What may be done to one database by whoever has its lock. Every method can be repeated.

    Each looks first, acts, accepts "already so", and raises
    ``TemporaryFailure`` when the server is down, full or locked, ``Unprocessable`` when the user
    asked for something this server cannot do, and ``PermanentFailure`` otherwise.
    """

    async def adopt_database(self, spec: DatabaseSpec, stock_tag: str) -> None:
        """Tag what still has the tag of the warm stock as the instance's.

        When that was all of a database, the steps below find it finished.

        Args:
            spec: The database as it shall be.
            stock_tag: What it and its roles were tagged with in the stock.
        """

    async def ensure_roles(self, spec: DatabaseSpec) -> None:
        """Create the owner role and the read-only group role."""

    async def ensure_database(self, spec: DatabaseSpec) -> None:
        """Create the database: nobody can connect to it yet."""

    async def initialise_database(self, spec: DatabaseSpec) -> None:
        """Fence the database, set its limits, prepare schema ``public``, install extensions."""

    async def change_database(self, change: DatabaseChange) -> None:
        """Apply an update in one transaction: all of it or, when it raises, nothing.

        Raises:
            UpdateRefused: PostgreSQL will not do it; the description says why.
        """

    async def drop_database(self, spec: DatabaseSpec, logins: Sequence[str]) -> None:
        """Drop the database, whoever is connected, then these login roles and the group roles.

        The tag proves that it is ours; limits, extensions and options play no part.
        """

    async def retain_database(self, retained: Retention, logins: Sequence[str]) -> None:
        """Drop these login roles, let nobody in any more, and put the database aside.

        What is missing on the server, or was dropped by half, cannot be kept and is cleared away.
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
        work: Callable[[DatabaseSession], Awaitable[None]],
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

    async def end_expired_sessions(self) -> int:
        """Disconnect the logins whose ``VALID UNTIL`` has passed; return how many sessions."""


class Servers(Protocol):
    """The configured servers (a provider)."""

    def limited(self, plan: Plan) -> bool:
        """Tell whether a server of the plan's pool has a limited capacity."""

    def suitable(self, plan: Plan, *, with_away: bool = False) -> tuple[str, ...]:
        """Return the servers that databases of a plan may be on.

        Args:
            plan: The databases' plan.
            with_away: Also those that do not answer.
        """

    def room(self, plan: Plan, occupancy: Occupancy) -> tuple[str, ...]:
        """Return the servers that could take one more database of a plan, and that answer.

        Args:
            plan: The database's plan.
            occupancy: What is on all servers.
        """

    def place(self, plan: Plan, occupancy: Occupancy) -> str:
        """Choose the server for a new database.

        Args:
            plan: Its pool is the one to choose from.
            occupancy: What is on all servers.

        Raises:
            PoolExhausted: No server of the pool can take it.
        """

    def check_growth(
        self, server: str, before: Plan | None, after: Plan, occupancy: Occupancy
    ) -> None:
        """Make sure that a database may move to another plan on its server.

        Args:
            server: The server it is on.
            before: Its plan, if the catalog still has it.
            after: The plan it shall have.
            occupancy: What is on all servers.

        Raises:
            UpdateRefused: The server lacks the plan's labels, or what the plan promises.
        """

    def serves(self, plan: Plan, server: str) -> bool:
        """Tell whether a server is one of the plan's pool."""

    def engine(self, server: str) -> Engine:
        """Return the engine of a server.

        Raises:
            ServerUnavailable: The server is no longer configured.
        """

    def endpoint(self, server: str) -> Endpoint:
        """Return how tenants reach a server.

        Raises:
            ServerUnavailable: The server is no longer configured.
        """


class StateTransaction(Protocol):
    """One transaction on the broker's state; leaving it without an exception commits."""

    @property
    def deleted(self) -> DeletedRecordsTransaction:
        """The deleted instances whose data is kept."""

    @property
    def warm(self) -> WarmRecords:
        """The records of the warm stock."""

    async def instance(self, key: InstanceKey) -> Instance | None:
        """Read an instance and lock it until the transaction ends."""

    async def binding(self, key: BindingKey) -> Binding | None:
        """Read a binding and lock it until the transaction ends."""

    async def bindings(self, key: InstanceKey) -> list[Binding]:
        """Read all bindings of an instance."""

    async def active_operations(self, key: InstanceKey) -> list[Operation]:
        """Read what is in progress on the instance and on its bindings, the oldest first."""

    async def occupancy(self, *, exclusively: bool) -> Occupancy:
        """Count what is on each server, and read which servers are cordoned.

        Args:
            exclusively: Let no other transaction count exclusively until this one ends, so that
                two cannot take the same last place.
        """

    async def add_instance(self, instance: Instance) -> bool:
        """Insert an instance; ``False`` when the key is taken by then."""

    async def add_binding(self, binding: Binding) -> bool:
        """Insert a binding; ``False`` when the key is taken by then."""

    async def save_instance(self, instance: Instance) -> None:
        """Overwrite an instance."""

    async def set_instance_status(self, key: InstanceKey, status: Status) -> None:
        """Change nothing of an instance but its status."""

    async def set_tag_key(self, key: InstanceKey, key_id: str) -> None:
        """Record the key that an instance's tags are made with from now on."""

    async def set_binding_status(self, key: BindingKey, status: Status) -> None:
        """Change nothing of a binding but its status."""

    async def set_binding_secret(self, binding: Binding) -> None:
        """Change nothing of a binding but its password."""

    async def remove_instance(self, key: InstanceKey) -> None:
        """Delete an instance with all its bindings."""

    async def remove_binding(self, key: BindingKey) -> None:
        """Delete a binding, its encrypted secret with it."""

    async def add_operation(self, operation: Operation, *, lease: timedelta) -> None:
        """Insert an operation in progress, leased to whoever holds its token."""

    async def record(
        self, operation: Operation, subject: Instance | Binding | Status, *, lease: timedelta
    ) -> bool:
        """Insert an operation in progress together with what it makes, or what becomes of it.

        Args:
            operation: Leased to whoever holds its token.
            subject: The instance or binding to insert, or the status that the operation's instance
                or binding has while it is in progress.
            lease: How long the holder may stay silent.

        Returns:
            ``False`` when the key of the instance or binding is taken by then.
        """

    async def take_over(
        self, operation: Operation, *, token: UUID, lease: timedelta
    ) -> Operation | None:
        """Lease an operation whose lease has run out; ``None`` when it has not."""

    async def finish_operation(self, operation: Operation) -> bool:
        """Record the end of an operation; ``False`` when its lease token is not ours any more."""

    async def halt_operation(self, operation: Operation) -> bool:
        """Record the end of an operation, whoever runs it; ``False`` when it is over."""


class Census(Protocol):
    """Reading all there is, without locking it."""

    async def instances(self, server: str, *, after: str, limit: int) -> Sequence[Instance]:
        """Read the instances on a server, a page at a time, by the names of their databases.

        Args:
            server: Its configured name.
            after: The last database of the page before; empty for the first page.
            limit: The most to read.
        """

    async def bindings(self, key: InstanceKey) -> Sequence[Binding]:
        """Read all bindings of an instance."""

    async def holds(self, database: str) -> bool:
        """Tell whether an instance has a database of that name, whatever its server is called."""

    async def busy(self, key: InstanceKey) -> bool:
        """Tell whether an operation is in progress on an instance or on one of its bindings."""


class DriftRecords(Protocol):
    """What the last look at each server has found, for all replicas."""

    async def first_seen(self, server: str) -> Mapping[tuple[DriftKind, str], datetime]:
        """Return since when each thing is known to be wrong, by kind and subject."""

    async def replace(self, server: str, found: Sequence[Drift], now: datetime) -> None:
        """Record what one look at a server has found, in place of what the one before did."""

    async def counts(self) -> Mapping[tuple[str, DriftKind, bool], int]:
        """Count what was found, by server, kind, and whether it has been resolved."""

    async def looked_at(self) -> Mapping[str, datetime]:
        """Return when each server was last looked at to the end."""


class Store(Protocol):
    """The broker's state."""

    @property
    def deleted(self) -> DeletedRecords:
        """The deleted instances whose data is kept."""

    @property
    def storage(self) -> StorageRecords:
        """What databases occupy."""

    @property
    def warm(self) -> WarmRecords:
        """The records of the warm stock."""

    @property
    def census(self) -> Census:
        """Reads all there is."""

    @property
    def drift(self) -> DriftRecords:
        """What the last look at each server has found."""

    def transaction(self) -> AbstractAsyncContextManager[StateTransaction]:
        """Open a transaction.

        Raises:
            StateUnavailable: The state database cannot be reached.
        """

    async def instance(self, key: InstanceKey) -> Instance | None:
        """Read an instance without locking it."""

    async def binding(self, key: BindingKey) -> Binding | None:
        """Read a binding without locking it."""

    async def operation(self, operation_id: UUID) -> Operation | None:
        """Read an operation."""

    async def last_operation(
        self, key: InstanceKey, binding_id: str | None = None
    ) -> Operation | None:
        """Read the newest operation on the instance itself, or on that binding of it."""

    async def extend_lease(self, operation: Operation, *, lease: timedelta) -> bool:
        """Keep an operation ours for longer; ``False`` when it is not ours any more."""

    async def holds_lease(self, operation: Operation) -> bool:
        """Tell whether an operation is in progress and still ours; locks nothing."""

    async def describe(self, operation: Operation, description: str) -> None:
        """Let whoever polls an operation of ours know what it is waiting for."""

    async def finish(self, operation: Operation, status: Status | None) -> bool:
        """Record the end of an operation and what has become of its instance or binding.

        Args:
            operation: As it is now; its binding if it names one, else its instance, is changed.
            status: ``None`` removes it.

        Returns:
            ``False`` when the operation is not ours any more; then nothing has changed.
        """


class Clock(Protocol):
    """The time, so that tests can choose it."""

    def __call__(self) -> datetime:
        """Return the time with its zone (UTC)."""


class Tags(Protocol):
    """Makes the COMMENT that says whose a database or role is, opaque to other tenants.

    The key is the one recorded with the instance, so that a tag never changes; each method raises
    ``PermanentFailure`` when that key is not configured.
    """

    def instance(self, key: InstanceKey, key_id: str) -> str:
        """Return the tag of a database and its group roles."""

    def binding(self, key: BindingKey, key_id: str) -> str:
        """Return the tag of a login role."""

    def instance_record(self, instance: Instance) -> str:
        """Return what follows the tag of the owner role: the instance, for a lost state."""

    def binding_record(self, binding: Binding, key_id: str) -> str:
        """Return what follows the tag of a login role: the binding without its password."""

    def deleted(self, key: DeletedKey, key_id: str) -> str:
        """Return the tag of the database and group roles of a deleted instance."""

    def deleted_record(self, deleted: DeletedInstance) -> str:
        """Return what follows that tag on the owner role: the deleted instance."""

    def open(self, comment: str) -> InstanceKey | BindingKey | DeletedKey | None:
        """Return whose a comment is; ``None`` when it was not made with a configured key."""

    def missing_key(self, comment: str) -> str | None:
        """Return the id of the key a comment was made with, when it is not configured."""

    def recover_instance(self, comment: str, *, database: str) -> Instance | None:
        """Return the instance that the comment on an owner role describes, if it has a record."""

    def recover_deleted(self, comment: str, *, database: str) -> DeletedInstance | None:
        """Return the deleted instance that the comment on an owner role describes, if any."""

    def recover_binding(self, comment: str, *, login: str) -> Binding | None:
        """Return the binding that the comment on a login role describes, if it has a record."""


class Runner(Protocol):
    """Carries out recorded operations."""

    async def run(self, work: Work, *, window: timedelta, patient: bool) -> Operation:
        """Start a recorded operation and wait for its end, at most as long as the window.

        Args:
            work: The operation, recorded and leased to us.
            window: How long to wait; it goes on afterwards.
            patient: Whether the caller will poll. Then a server that is down, full or locked makes
                the operation take long instead of fail, and is not waited for here.

        Returns:
            The operation as it is then: finished, or still in progress.

        Raises:
            BrokerError: It failed within the window.
        """

    async def wait(self, operation: Operation, *, window: timedelta, patient: bool) -> Operation:
        """Wait for the end of an operation that some process runs; otherwise like ``run``."""
