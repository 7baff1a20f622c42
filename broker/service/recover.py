"""Recover: rebuild instances and bindings from what the servers say, after the state was lost.

Belongs here: what is believed, and adding it. Nothing on a server is changed; what was closed by
quarantine is opened by the next reconciliation, for it is known then.

What is in the state already is left as it is, so that recovering again, or into an old backup of
the state, adds what is missing. Each database is looked at once more under its lock before anything
is added: a replica that runs may have deleted it meanwhile, and takes its record away last.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from broker.domain.errors import BrokerError, StateUnavailable
from broker.domain.instance import Binding, BindingKey, InstanceKey, Status
from broker.domain.names import owner_name, retained_name
from broker.domain.storage import StorageState
from broker.service.recoverable import (
    RecoverableInstance,
    kept_databases,
    recoverable_instances,
    unreadable_keys,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.domain.deleted import DeletedInstance, DeletedKey
    from broker.service.ports import DatabaseSession, Engine, StateTransaction, Store, Tags


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
    OUTDATED = "outdated"
    """The state has it with a plan that it had before. It is left so: update it again."""
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
        failures: Servers that could not be looked at, or the state database, and why; recover
            again when they are back.
    """

    found: list[Recovery] = field(default_factory=list)
    unreadable: Counter[str] = field(default_factory=Counter)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether nothing was left that a person has to look after."""
        left = {Outcome.NO_RECORD, Outcome.OUTDATED, Outcome.CONFLICT}
        # Some may be another broker's; if that is all there is, it is rather the keys.
        wrong_keys = bool(self.unreadable) and not self.found
        lacking = self.failures or wrong_keys
        return not lacking and not any(one.outcome in left for one in self.found)


async def recover(store: Store, engines: Mapping[str, Engine], tags: Tags) -> RecoveryReport:
    """Add to the state what the servers have and it does not.

    Args:
        store: The state; its schema is up to date.
        engines: Of the configured servers, by name.
        tags: Opens the comments: the keys are what must have survived.
    """
    report = RecoveryReport()
    candidates, kept = await _listed(engines, tags, report)
    believed = [one for claims in candidates.values() for one in _believed(claims, report)]
    additions = [
        *((one.server, partial(_add, store, engines[one.server], tags, one)) for one in believed),
        *(
            (server, partial(_add_deleted, store, engines[server], tags, server, deleted))
            for server, deleted in kept.values()
        ),
    ]
    for server, add in additions:
        if server in report.failures:
            continue
        try:
            report.found.extend(await add())
        except StateUnavailable as exc:
            report.failures["the state database"] = exc.description
            break
        except BrokerError as exc:
            report.failures[server] = exc.description
    return report


async def _listed(
    engines: Mapping[str, Engine], tags: Tags, report: RecoveryReport
) -> tuple[
    dict[InstanceKey, list[RecoverableInstance]], dict[DeletedKey, tuple[str, DeletedInstance]]
]:
    """Return the instances that servers say they have, and the kept ones with their servers."""
    results = await asyncio.gather(
        *(engine.inventory() for engine in engines.values()), return_exceptions=True
    )
    candidates: dict[InstanceKey, list[RecoverableInstance]] = {}
    kept: dict[DeletedKey, tuple[str, DeletedInstance]] = {}
    for server, result in zip(engines, results, strict=True):
        match result:
            case BrokerError():
                report.failures[server] = result.description
            case BaseException():
                raise result
            case inventory:
                report.unreadable.update(unreadable_keys(inventory, tags))
                for candidate in recoverable_instances(server, inventory, tags):
                    candidates.setdefault(candidate.key, []).append(candidate)
                for deleted in kept_databases(inventory, tags):
                    if deleted.key not in kept or deleted.instance.server == server:
                        kept[deleted.key] = server, deleted
    return candidates, kept


async def _confirmed() -> None:
    """Confirm that something may be looked at: anybody may."""


def _believed(
    claims: list[RecoverableInstance], report: RecoveryReport
) -> list[RecoverableInstance]:
    """Choose between several databases that say they are the same instance.

    One PostgreSQL server may be configured under two names; the record has the right one.
    """
    databases = {claim.database for claim in claims}
    if len(databases) == 1:
        named = [c for c in claims if c.instance is not None and c.instance.server == c.server]
        return (named or claims)[:1]
    report.found.extend(_recovery(claim, Outcome.CONFLICT) for claim in claims)
    return []


async def _add(
    store: Store, engine: Engine, tags: Tags, listed: RecoverableInstance
) -> list[Recovery]:
    """Add an instance with its bindings, in one transaction, as far as they are not there."""
    found: list[Recovery] = []

    async def add(database: DatabaseSession) -> None:
        found.clear()
        inventory = await database.listed(listed.roles)
        for present in recoverable_instances(listed.server, inventory, tags):
            if present.key == listed.key:
                found.extend(await _added(store, present))

    await engine.exclusively(listed.database, add, confirm=_confirmed)
    return found


async def _added(store: Store, candidate: RecoverableInstance) -> list[Recovery]:
    async with store.transaction() as state:
        outcome = await _add_instance(state, candidate)
        bindings = [await _add_binding(state, binding, outcome) for binding in candidate.bindings]
    return [
        _recovery(candidate, outcome),
        *(
            _recovery(candidate, became, subject=login, binding_id=binding_id)
            for login, binding_id, became in bindings
        ),
    ]


async def _add_deleted(
    store: Store,
    engine: Engine,
    tags: Tags,
    server: str,
    listed: DeletedInstance,
) -> list[Recovery]:
    former, name = listed.instance, retained_name(listed.instance.database)
    deleted = replace(listed, instance=replace(former, server=server))
    found: list[Recovery] = []

    async def add(database: DatabaseSession) -> None:
        found.clear()
        inventory = await database.listed([owner_name(former.database)], database=name)
        if listed.key not in {present.key for present in kept_databases(inventory, tags)}:
            return
        async with store.transaction() as state:
            if await state.deleted.lock(deleted.id) is not None:
                outcome = Outcome.PRESENT
            elif await state.deleted.claimed(server, former.database):
                outcome = Outcome.CONFLICT
            else:
                await state.deleted.add(deleted)
                outcome = Outcome.KEPT
        key = former.key
        found.append(Recovery(server, name, key.platform, key.instance_id, outcome))

    await engine.exclusively(former.database, add, confirm=_confirmed)
    return found


async def _add_instance(state: StateTransaction, candidate: RecoverableInstance) -> Outcome:
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
    if stored is None or stored.database != candidate.database:
        return Outcome.CONFLICT
    recorded = candidate.instance
    newer = recorded is not None and recorded.is_newer_than(stored)
    return Outcome.OUTDATED if newer else Outcome.PRESENT


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


def _recovery(
    candidate: RecoverableInstance,
    outcome: Outcome,
    *,
    subject: str | None = None,
    binding_id: str | None = None,
) -> Recovery:
    key = candidate.key
    return Recovery(
        candidate.server,
        subject or candidate.database,
        key.platform,
        key.instance_id,
        outcome,
        binding_id,
    )
