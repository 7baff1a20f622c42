"""Recover: rebuild instances and bindings from what the servers say, after the state was lost.

Belongs here: what is believed, and what status it gets. Nothing on a server is changed; what was
closed by quarantine is opened by the next reconciliation, for it is known then.

What is in the state already is left as it is, so that recovering again, or into an old backup of
the state, adds what is missing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from broker.domain.errors import BrokerError
from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey, Status
from broker.domain.inventory import is_quarantined
from broker.domain.names import owner_name, retained_name
from broker.domain.storage import StorageState
from broker.domain.warm import is_warm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.domain.deleted import DeletedInstance, DeletedKey
    from broker.domain.inventory import Inventory, ListedRole
    from broker.service.ports import Engine, StateTransaction, Store, Tags


class Outcome(StrEnum):
    """What became of something that was found."""

    RECOVERED = "recovered"
    PRESENT = "present"
    """The state has it already."""
    KEPT = "kept"
    """A deleted instance whose data is kept: recovered as that."""
    UNFINISHED = "unfinished"
    """Recovered so that its platform can delete it: it was being made or deleted."""
    NO_RECORD = "no record"
    """A version without records made it, so that only its ids are known."""
    CONFLICT = "conflict"
    """The state says otherwise: it has another database under this id, or this database as another
    instance's or deletion's; or two servers say they have it. Nothing was added."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """What became of one instance or binding.

    Attributes:
        server: Where it was found.
        subject: Its database or login.
        platform: Whose it is.
        instance_id: Which instance.
        outcome: What became of it.
        binding_id: Which binding, for a binding.
    """

    server: str
    subject: str
    platform: str
    instance_id: str
    outcome: Outcome
    binding_id: str | None = None


@dataclass(slots=True)
class RecoveryReport:
    """What was found on all servers.

    Attributes:
        found: Instances and bindings.
        unreadable: How many things carry the tag of a key that is not configured, by key id.
        failures: Servers that could not be looked at, and why; recover again when they are back.
    """

    found: list[Recovery] = field(default_factory=list)
    unreadable: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether nothing was left that a person has to look after."""
        left = {Outcome.NO_RECORD, Outcome.CONFLICT}
        return not self.failures and not any(one.outcome in left for one in self.found)


@dataclass(frozen=True, slots=True)
class _Candidate:
    """An instance that a server says it has.

    Attributes:
        server: That server.
        key: The instance.
        database: The database's name.
        instance: What its record says; ``None`` without one.
        bindings: Its bindings, or the key and login of one without a record.
    """

    server: str
    key: InstanceKey
    database: str
    instance: Instance | None
    bindings: tuple[Binding | tuple[BindingKey, str], ...]


async def recover(store: Store, engines: Mapping[str, Engine], tags: Tags) -> RecoveryReport:
    """Add to the state what the servers have and it does not.

    Args:
        store: The state; its schema is up to date.
        engines: Of the configured servers, by name.
        tags: Opens the comments: the keys are what must have survived.

    Raises:
        StateUnavailable: The state database cannot be reached.
    """
    report = RecoveryReport()
    results = await asyncio.gather(
        *(engine.inventory() for engine in engines.values()), return_exceptions=True
    )
    candidates: dict[InstanceKey, list[_Candidate]] = {}
    kept: dict[DeletedKey, tuple[str, DeletedInstance]] = {}
    for server, result in zip(engines, results, strict=True):
        match result:
            case BrokerError():
                report.failures[server] = result.description
            case BaseException():
                raise result
            case inventory:
                report.unreadable.update(_unreadable(inventory, tags))
                for candidate in _candidates(server, inventory, tags):
                    candidates.setdefault(candidate.key, []).append(candidate)
                for deleted in _deleted(inventory, tags):
                    if deleted.key not in kept or deleted.instance.server == server:
                        kept[deleted.key] = server, deleted
    for claims in candidates.values():
        for candidate in _believed(claims, report):
            await _add(store, candidate, report)
    for server, deleted in kept.values():
        await _add_deleted(store, server, deleted, report)
    return report


def _unreadable(inventory: Inventory, tags: Tags) -> Counter[str]:
    comments = [role.comment for role in inventory.roles.values()]
    missing = (tags.missing_key(comment) for comment in comments)
    return Counter(key_id for key_id in missing if key_id is not None)


def _candidates(server: str, inventory: Inventory, tags: Tags) -> list[_Candidate]:
    """Return the instances a server says it has: each has an owner role."""
    logins: dict[InstanceKey, list[tuple[BindingKey, ListedRole]]] = {}
    owners: list[tuple[InstanceKey, ListedRole]] = []
    suffix = owner_name("")
    for role in inventory.roles.values():
        match tags.open(role.comment):
            case BindingKey() as key:
                logins.setdefault(key.instance, []).append((key, role))
            case InstanceKey() as owned if role.name.endswith(suffix) and not is_warm(owned):
                owners.append((owned, role))
            case _:
                pass
    found = []
    for instance_key, owner in owners:
        name = owner.name.removesuffix(suffix)
        instance = tags.recover_instance(owner.comment, database=name)
        if instance is not None:
            instance = replace(instance, status=_status(inventory, name))
        groups = {name, owner.name}
        bindings = tuple(
            _binding(tags, binding_key, role)
            for binding_key, role in logins.get(instance_key, ())
            if groups & {*role.groups}
        )
        found.append(_Candidate(server, instance_key, name, instance, bindings))
    return found


def _deleted(inventory: Inventory, tags: Tags) -> list[DeletedInstance]:
    """Return the deleted instances whose data a server says it keeps."""
    suffix = owner_name("")
    owners = [role for role in inventory.roles.values() if role.name.endswith(suffix)]
    found = (
        tags.recover_deleted(role.comment, database=role.name.removesuffix(suffix))
        for role in owners
    )
    return [deleted for deleted in found if deleted is not None]


def _status(inventory: Inventory, name: str) -> Status:
    """Say what a database is good for.

    One that is missing or closed was being made or deleted. As ``DELETING``, its platform can do
    nothing but delete it: it must not be created again, empty, by a request to provision.
    """
    database = inventory.databases.get(name)
    if database is None or database.half_dropped:
        return Status.DELETING
    usable = database.connectable or is_quarantined(database.comment)
    return Status.READY if usable else Status.DELETING


def _binding(tags: Tags, key: BindingKey, role: ListedRole) -> Binding | tuple[BindingKey, str]:
    binding = tags.recover_binding(role.comment, login=role.name)
    if binding is None:
        return key, role.name
    usable = role.can_login or is_quarantined(role.comment)
    return replace(binding, status=Status.READY if usable else Status.DELETING)


def _believed(claims: list[_Candidate], report: RecoveryReport) -> list[_Candidate]:
    """Choose between several databases that say they are the same instance.

    One PostgreSQL server may be configured under two names; the record has the right one.
    """
    databases = {claim.database for claim in claims}
    if len(databases) == 1:
        named = [c for c in claims if c.instance is not None and c.instance.server == c.server]
        return (named or claims)[:1]
    for claim in claims:
        _note(report, claim, Outcome.CONFLICT)
    return []


async def _add(store: Store, candidate: _Candidate, report: RecoveryReport) -> None:
    """Add an instance with its bindings, in one transaction, as far as they are not there."""
    async with store.transaction() as state:
        outcome = await _add_instance(state, candidate)
        bindings = [await _add_binding(state, binding, outcome) for binding in candidate.bindings]
    _note(report, candidate, outcome)
    for subject, binding_id, became in bindings:
        _note(report, candidate, became, subject=subject, binding_id=binding_id)


async def _add_deleted(
    store: Store, server: str, deleted: DeletedInstance, report: RecoveryReport
) -> None:
    deleted = replace(deleted, instance=replace(deleted.instance, server=server))
    async with store.transaction() as state:
        if await state.deleted.lock(deleted.id) is not None:
            outcome = Outcome.PRESENT
        elif await state.deleted.claimed(server, deleted.instance.database):
            outcome = Outcome.CONFLICT
        else:
            await state.deleted.add(deleted)
            outcome = Outcome.KEPT
    key, name = deleted.instance.key, retained_name(deleted.instance.database)
    report.found.append(Recovery(server, name, key.platform, key.instance_id, outcome))


async def _add_instance(state: StateTransaction, candidate: _Candidate) -> Outcome:
    stored = await state.instance(candidate.key)
    if stored is None:
        if candidate.instance is None:
            return Outcome.NO_RECORD
        if await state.deleted.claimed(candidate.server, candidate.database):
            return Outcome.CONFLICT
        # Nobody knows whether it was over its storage limit: the next measurement settles it.
        instance = replace(
            candidate.instance, server=candidate.server, storage=StorageState.RELEASING
        )
        if await state.add_instance(instance):
            return _recovered(instance.status)
        stored = await state.instance(candidate.key)
    same = stored is not None and stored.database == candidate.database
    return Outcome.PRESENT if same else Outcome.CONFLICT


async def _add_binding(
    state: StateTransaction, binding: Binding | tuple[BindingKey, str], instance: Outcome
) -> tuple[str, str, Outcome]:
    """Add a binding to an instance of which something has become; say what became of it."""
    if isinstance(binding, tuple):
        key, login = binding
        stored = await state.binding(key)
        present = stored is not None and stored.login == login
        return login, key.binding_id, Outcome.PRESENT if present else Outcome.NO_RECORD
    login, binding_id = binding.login, binding.key.binding_id
    if instance in {Outcome.NO_RECORD, Outcome.CONFLICT}:
        return login, binding_id, instance
    if await state.add_binding(binding):
        return login, binding_id, _recovered(binding.status)
    stored = await state.binding(binding.key)
    same = stored is not None and stored.login == login
    return login, binding_id, Outcome.PRESENT if same else Outcome.CONFLICT


def _recovered(status: Status) -> Outcome:
    return Outcome.RECOVERED if status is Status.READY else Outcome.UNFINISHED


def _note(
    report: RecoveryReport,
    candidate: _Candidate,
    outcome: Outcome,
    *,
    subject: str | None = None,
    binding_id: str | None = None,
) -> None:
    key = candidate.key
    report.found.append(
        Recovery(
            candidate.server,
            subject or candidate.database,
            key.platform,
            key.instance_id,
            outcome,
            binding_id,
        )
    )
