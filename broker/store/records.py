"""Instances and bindings as the JSON documents that are sealed into COMMENTs on the servers.

Belongs here: what a broker whose state was lost reads from a server, and nothing that the server's
catalogs say themselves. Never a password: whoever has the keys of the ring and a copy of
``pg_shdescription`` learns whose a database is, and no way into it.

A field that is missing in a document, because an older version wrote it, has its default.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from broker.domain.database import Access
from broker.domain.deleted import DeletedInstance, DeletedKey, Stage
from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey, Status
from broker.domain.names import owner_name

if TYPE_CHECKING:
    from collections.abc import Mapping


def instance_document(instance: Instance) -> dict[str, Any]:
    """Return what an instance is, but for its ids: those are the tag's business."""
    return {
        "service_id": instance.service_id,
        "plan_id": instance.plan_id,
        "former_plan_ids": list(instance.former_plan_ids),
        "parameters": dict(instance.parameters),
        "context": dict(instance.context),
        "organization_guid": instance.organization_guid,
        "space_guid": instance.space_guid,
        "maintenance_version": instance.maintenance_version,
        "server": instance.server,
        "extensions": list(instance.extensions),
        "created_at": instance.created_at.isoformat(),
    }


def to_instance(
    document: Mapping[str, Any], key: InstanceKey, *, database: str, tag_key_id: str
) -> Instance:
    """Build an instance, not yet said to be usable, from its document.

    Args:
        document: As ``instance_document`` returned it.
        key: From the tag.
        database: The database's name.
        tag_key_id: The key the tag was made with.
    """
    return Instance(
        key=key,
        service_id=document["service_id"],
        plan_id=document["plan_id"],
        former_plan_ids=tuple(document.get("former_plan_ids", ())),
        parameters=document["parameters"],
        context=document["context"],
        organization_guid=document.get("organization_guid"),
        space_guid=document.get("space_guid"),
        maintenance_version=document.get("maintenance_version"),
        server=document["server"],
        database=database,
        owner=owner_name(database),
        tag_key_id=tag_key_id,
        extensions=tuple(document.get("extensions", ())),
        status=Status.FAILED,
        created_at=datetime.fromisoformat(document["created_at"]),
    )


def deleted_document(deleted: DeletedInstance) -> dict[str, Any]:
    """Return what a deleted instance was, and how long its data is kept, but for its ids."""
    return {
        **instance_document(deleted.instance),
        "deleted_at": deleted.deleted_at.isoformat(),
        "purge_at": deleted.purge_at.isoformat(),
    }


def to_deleted(
    document: Mapping[str, Any], key: DeletedKey, *, database: str, tag_key_id: str
) -> DeletedInstance:
    """Build a retained instance from its document.

    Args:
        document: As ``deleted_document`` returned it.
        key: From the tag.
        database: The name of the database as the instance had it.
        tag_key_id: The key the tag was made with.
    """
    instance = to_instance(document, key.instance, database=database, tag_key_id=tag_key_id)
    return DeletedInstance(
        id=key.id,
        instance=replace(instance, status=Status.READY),
        deleted_at=datetime.fromisoformat(document["deleted_at"]),
        purge_at=datetime.fromisoformat(document["purge_at"]),
        stage=Stage.RETAINED,
    )


def binding_document(binding: Binding) -> dict[str, Any]:
    """Return what a binding is, but for its ids, its login and its password."""
    return {
        "parameters": dict(binding.parameters),
        "context": dict(binding.context),
        "bind_resource": dict(binding.bind_resource),
        "app_guid": binding.app_guid,
        "predecessor_id": binding.predecessor_id,
        "access": binding.access.value,
        "created_at": binding.created_at.isoformat(),
        "expires_at": _text(binding.expires_at),
        "renew_before": _text(binding.renew_before),
    }


def to_binding(document: Mapping[str, Any], key: BindingKey, *, login: str) -> Binding:
    """Build a binding without a password, not yet said to be usable, from its document.

    Args:
        document: As ``binding_document`` returned it.
        key: From the tag.
        login: The role's name.
    """
    return Binding(
        key=key,
        parameters=document["parameters"],
        context=document["context"],
        bind_resource=document.get("bind_resource", {}),
        app_guid=document.get("app_guid"),
        predecessor_id=document.get("predecessor_id"),
        login=login,
        access=Access(document["access"]),
        secret=None,
        created_at=datetime.fromisoformat(document["created_at"]),
        expires_at=_moment(document.get("expires_at")),
        renew_before=_moment(document.get("renew_before")),
        status=Status.FAILED,
    )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
