"""What a server holds with our tags and no record knows: found, looked at again, and closed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.domain.database import DatabaseSpec, tag_of
from broker.domain.deleted import DeletedKey
from broker.domain.drift import Deviation, DriftKind
from broker.domain.instance import BindingKey
from broker.domain.inventory import is_quarantined
from broker.domain.names import former_name, owner_name, retained_name
from broker.domain.warm import is_warm
from broker.service.reconcile_database import InProgress
from broker.service.specs import NO_LIMITS

if TYPE_CHECKING:
    from broker.domain.instance import InstanceKey
    from broker.domain.inventory import Inventory, ListedDatabase, ListedRole
    from broker.service.ports import DatabaseSession, Store, Tags


@dataclass(slots=True)
class Strangers:
    """What no record knows.

    Attributes:
        suspects: By database; roles whose database is gone, too.
        unreadable: How many things carry the tag of a key that is not configured, by key id.
    """

    suspects: list[Suspect]
    unreadable: dict[str, int]


@dataclass(slots=True)
class Suspect:
    """A database and its roles that no record knew when the server was listed.

    Attributes:
        store: To ask again.
        name: The database, whether or not it is there.
        tag: Its tag.
        whose: What the tag says: an instance, or one that was deleted and whose data is kept.
        roles: Its group roles and logins.
        apply: Whether to do something about it.
        may_close: Whether it may be quarantined.
        found: What is wrong, and whether it has been seen to.
    """

    store: Store
    name: str
    tag: str
    whose: InstanceKey | DeletedKey
    roles: tuple[str, ...]
    apply: bool = False
    may_close: bool = False
    found: list[tuple[Deviation, bool]] = field(default_factory=list)

    @property
    def lock(self) -> str:
        """The name whose lock it is worked on under: a kept database has that of its instance."""
        return former_name(self.name) if isinstance(self.whose, DeletedKey) else self.name

    @property
    def key(self) -> InstanceKey:
        """The instance that it is, or was."""
        return self.whose.instance if isinstance(self.whose, DeletedKey) else self.whose

    @property
    def is_spare(self) -> bool:
        """Whether it is of the warm stock: nobody has ever had it."""
        return is_warm(self.key) and self.key.instance_id == self.name

    def is_in(self, inventory: Inventory) -> bool:
        """Tell whether what is there says what it said when it was found."""
        comment = _comment_of(self.name, inventory)
        return comment is not None and tag_of(comment) == self.tag

    def is_open_in(self, inventory: Inventory) -> bool:
        """Tell whether the database itself is there like that, and lets somebody in."""
        database = inventory.databases.get(self.name)
        return database is not None and database.connectable and self.is_in(inventory)

    async def confirm(self) -> None:
        """Make sure that it is still unknown, and that nothing is in progress.

        Raises:
            InProgress: It is known by now, or something is.
        """
        if await self.store.census.busy(self.key) or await _is_known(
            self.name, self.whose, self.store
        ):
            raise InProgress

    async def work(self, session: DatabaseSession) -> None:
        """Look again; then close it, or finish dropping what was dropped by half."""
        self.found = []
        listed = await session.listed(self.roles, database=self.name)
        if not self.is_in(listed):
            return  # It has gone, or been put aside or back, since it was listed.
        database = listed.databases.get(self.name)
        if database is None:
            for role in listed.roles.values():
                detail = (
                    "No record has a database of this name, and there is none. Find out whether "
                    "it was renamed, or its group role was; if not, drop the role."
                )
                self._note(DriftKind.UNKNOWN_ROLE, role.name, detail, resolved=False)
        elif isinstance(self.whose, DeletedKey):
            # It was closed when it was put aside.
            self._note_unknown(resolved=not database.connectable)
        elif database.half_dropped:
            await self._finish_drop(session, listed.roles)
        else:
            await self._quarantine(session, database)

    async def _finish_drop(self, session: DatabaseSession, roles: dict[str, ListedRole]) -> None:
        groups = {self.name, owner_name(self.name)}
        spec = DatabaseSpec(self.name, owner_name(self.name), self.tag, NO_LIMITS)
        if self.apply:
            # A login that is not in the group any more is none that this database knows.
            logins = [
                r.name for r in roles.values() if groups & {*r.groups} and r.name not in groups
            ]
            await session.drop_database(spec, logins)
        detail = "The database has been dropped by half, and no record knows it."
        self._note(DriftKind.HALF_DROPPED, self.name, detail, resolved=self.apply)

    async def _quarantine(self, session: DatabaseSession, database: ListedDatabase) -> None:
        closed = is_quarantined(database.comment) and not database.connectable
        if self.apply and self.may_close and not closed:
            closed = await session.quarantine_database(self.tag)
        self._note_unknown(resolved=closed)

    def _note_unknown(self, *, resolved: bool) -> None:
        detail = (
            "It says it is a spare one of the warm stock, and no record knows it. "
            "Drop it with `pgbroker warm release --unknown`."
            if self.is_spare
            else f"It says it is the instance {self.key.instance_id} of {self.key.platform}, "
            "and no record knows it. Recover it with `pgbroker recover --from-servers`, or drop it."
        )
        self._note(DriftKind.UNKNOWN_DATABASE, self.name, detail, resolved=resolved)

    def _note(self, kind: DriftKind, subject: str, detail: str, *, resolved: bool) -> None:
        self.found.append((Deviation(kind, subject, detail), resolved))


async def find_strangers(
    inventory: Inventory, known: set[str], *, tags: Tags, store: Store
) -> Strangers:
    """Go through what was listed, and pick what no record knows.

    Args:
        inventory: Of a server.
        known: The databases that an instance on this server has.
        tags: Opens the comments.
        store: Asked about each that is left: it may be known under another name of its server.
    """
    missing_keys = (tags.missing_key(comment) for comment in _comments(inventory))
    unreadable = Counter(key_id for key_id in missing_keys if key_id is not None)
    suspects = []
    for name, roles in _by_database(inventory, tags).items():
        if name in known:
            continue
        comment = _comment_of(name, inventory)
        whose = None if comment is None else tags.open(comment)
        if comment is None or whose is None:
            continue
        if isinstance(whose, BindingKey):
            # A login of an instance that is known is looked at together with it.
            if await store.instance(whose.instance) is not None:
                continue
            whose = whose.instance
        elif await _is_known(name, whose, store):
            continue
        suspects.append(Suspect(store, name, tag=tag_of(comment), whose=whose, roles=tuple(roles)))
    return Strangers(suspects, dict(unreadable))


async def _is_known(name: str, whose: InstanceKey | DeletedKey, store: Store) -> bool:
    """Tell whether there is a record of a database, under whatever name of its server."""
    if isinstance(whose, DeletedKey):
        kept = await store.deleted.find(whose.id) is not None
        # Or it has been restored in the meantime.
        return kept or await store.census.holds(former_name(name))
    # In this order: a database of the warm stock goes over to an instance in one transaction.
    if is_warm(whose) and any(warm.database == name for warm in await store.warm.listed()):
        return True
    return await store.census.holds(name)


def _by_database(inventory: Inventory, tags: Tags) -> dict[str, list[str]]:
    """Return the names of all databases that are there or have roles, with their roles."""
    found: dict[str, list[str]] = {name: [] for name in inventory.databases}
    suffix = owner_name("")
    for role in inventory.roles.values():
        name, whose = role.name, tags.open(role.comment)
        if isinstance(whose, BindingKey):
            # A login is a member of a group role, and that has the name of its database.
            name = next((group for group in role.groups if group in inventory.roles), name)
        name = name.removesuffix(suffix)
        if isinstance(whose, DeletedKey):
            # Its group roles have the names they had.
            name = retained_name(name)
        found.setdefault(name, []).append(role.name)
    return found


def _comment_of(name: str, inventory: Inventory) -> str | None:
    """Return what says whose a database is: its own comment, or that of one of its groups."""
    database = inventory.databases.get(name)
    if database is not None and database.comment is not None:
        return database.comment
    group = former_name(name)
    for role in (owner_name(group), group):
        if role in inventory.roles:
            return inventory.roles[role].comment
    return None


def _comments(inventory: Inventory) -> list[str]:
    roles = [role.comment for role in inventory.roles.values()]
    return [*roles, *(d.comment for d in inventory.databases.values() if d.comment is not None)]
