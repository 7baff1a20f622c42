"""What servers say they have, for a state that was lost.

Belongs here: reading instances, bindings and kept databases from the comments in an inventory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey, Status
from broker.domain.inventory import is_quarantined
from broker.domain.names import owner_name
from broker.domain.warm import is_warm

if TYPE_CHECKING:
    from broker.domain.deleted import DeletedInstance
    from broker.domain.inventory import Inventory, ListedRole
    from broker.service.ports import Tags


@dataclass(frozen=True, slots=True)
class RecoverableInstance:
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

    @property
    def roles(self) -> list[str]:
        """The names of its roles."""
        logins = (one[1] if isinstance(one, tuple) else one.login for one in self.bindings)
        return [self.database, owner_name(self.database), *logins]


def unreadable_keys(inventory: Inventory, tags: Tags) -> Counter[str]:
    """Count the comments that ask for a key that is not configured, by the key's id."""
    comments = [role.comment for role in inventory.roles.values()]
    missing = (tags.missing_key(comment) for comment in comments)
    return Counter(key_id for key_id in missing if key_id is not None)


def recoverable_instances(
    server: str, inventory: Inventory, tags: Tags
) -> list[RecoverableInstance]:
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
        found.append(RecoverableInstance(server, instance_key, name, instance, bindings))
    return found


def kept_databases(inventory: Inventory, tags: Tags) -> list[DeletedInstance]:
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
