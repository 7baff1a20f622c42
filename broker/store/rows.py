"""Rows of the state database to domain records and back, without any I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from broker.domain.credentials import LoginSecret, Secret
from broker.domain.database import Access
from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey, Status
from broker.domain.operation import (
    Caller,
    Operation,
    OperationKind,
    OperationState,
    OriginatingIdentity,
    UpdateTarget,
)
from broker.domain.storage import StorageState

if TYPE_CHECKING:
    from broker.store.encryption import KeyRing
    from broker.store.execution import Row


def instance_key(key: InstanceKey) -> dict[str, Any]:
    """Return the parameters of a condition on an instance's key."""
    return {"key_platform": key.platform, "key_instance_id": key.instance_id}


def binding_key(key: BindingKey) -> dict[str, Any]:
    """Return the parameters of a condition on a binding's key."""
    return {**instance_key(key.instance), "key_binding_id": key.binding_id}


def subject_key(key: InstanceKey, binding_id: str | None) -> dict[str, Any]:
    """Return the parameters of a condition on operations, on the instance itself or a binding."""
    return instance_key(key) if binding_id is None else binding_key(BindingKey(key, binding_id))


def holder_key(operation: Operation) -> dict[str, Any]:
    """Return the parameters of the condition that an operation is still leased by its token."""
    return {"key_id": operation.id, "key_lease_token": operation.lease_token}


def instance_values(instance: Instance) -> dict[str, Any]:
    """Return an instance's columns."""
    return {
        "platform": instance.key.platform,
        "instance_id": instance.key.instance_id,
        "service_id": instance.service_id,
        "plan_id": instance.plan_id,
        "former_plan_ids": list(instance.former_plan_ids),
        "parameters": dict(instance.parameters),
        "context": dict(instance.context),
        "organization_guid": instance.organization_guid,
        "space_guid": instance.space_guid,
        "maintenance_version": instance.maintenance_version,
        "server": instance.server,
        "database": instance.database,
        "owner": instance.owner,
        "tag_key_id": instance.tag_key_id,
        "extensions": list(instance.extensions),
        "status": instance.status.value,
        "created_at": instance.created_at,
        "storage": instance.storage.value,
    }


def to_instance(row: Row, status: Status | None = None) -> Instance:
    """Build an instance from its row.

    Args:
        row: Of the table ``instances``, or of one with the same columns but ``status``.
        status: For the latter.
    """
    return Instance(
        key=InstanceKey(row.platform, row.instance_id),
        service_id=row.service_id,
        plan_id=row.plan_id,
        former_plan_ids=tuple(row.former_plan_ids),
        parameters=row.parameters,
        context=row.context,
        organization_guid=row.organization_guid,
        space_guid=row.space_guid,
        maintenance_version=row.maintenance_version,
        server=row.server,
        database=row.database,
        owner=row.owner,
        tag_key_id=row.tag_key_id,
        extensions=tuple(row.extensions),
        status=status or Status(row.status),
        # Not kept with what was deleted: all its logins are gone.
        storage=StorageState.WITHIN if status else StorageState(row.storage),
        created_at=row.created_at,
    )


def _secret_place(key: BindingKey) -> tuple[str, ...]:
    return ("bindings", "secret", *binding_key(key).values())


def secret_values(binding: Binding, keys: KeyRing) -> dict[str, Any]:
    """Return the columns of a binding's secret, encrypted for this row; also that there is none."""
    secret = binding.secret
    parts = None if secret is None else [secret.password.reveal(), secret.verifier.reveal()]
    key_id, ciphertext = keys.encrypt(json.dumps(parts).encode(), place=_secret_place(binding.key))
    return {"secret": ciphertext, "secret_key_id": key_id}


def binding_values(binding: Binding, keys: KeyRing) -> dict[str, Any]:
    """Return a binding's columns, its secret encrypted for this row."""
    return {
        "platform": binding.key.instance.platform,
        "instance_id": binding.key.instance.instance_id,
        "binding_id": binding.key.binding_id,
        "parameters": dict(binding.parameters),
        "context": dict(binding.context),
        "bind_resource": dict(binding.bind_resource),
        "app_guid": binding.app_guid,
        "predecessor_id": binding.predecessor_id,
        "login": binding.login,
        "access": binding.access.value,
        **secret_values(binding, keys),
        "created_at": binding.created_at,
        "expires_at": binding.expires_at,
        "renew_before": binding.renew_before,
        "status": binding.status.value,
    }


def to_binding(row: Row, keys: KeyRing) -> Binding:
    """Build a binding from its row.

    Raises:
        EncryptionKeyMissing: Its secret's key is not in the ring.
        DecryptionFailed: Its secret does not decrypt.
    """
    key = BindingKey(InstanceKey(row.platform, row.instance_id), row.binding_id)
    plaintext = keys.decrypt(row.secret_key_id, row.secret, place=_secret_place(key))
    parts = json.loads(plaintext)
    return Binding(
        key=key,
        parameters=row.parameters,
        context=row.context,
        bind_resource=row.bind_resource,
        app_guid=row.app_guid,
        predecessor_id=row.predecessor_id,
        login=row.login,
        access=Access(row.access),
        secret=None if parts is None else LoginSecret(*map(Secret, parts)),
        created_at=row.created_at,
        expires_at=row.expires_at,
        renew_before=row.renew_before,
        status=Status(row.status),
    )


def recorded_values(operation: Operation) -> dict[str, Any]:
    """Return an operation's columns as recording it names them: ``operation_id`` and so on."""
    identity = operation.caller.identity
    values = {
        "id": operation.id,
        "platform": operation.instance.platform,
        "instance_id": operation.instance.instance_id,
        "binding_id": operation.binding_id,
        "kind": operation.kind.value,
        "request_id": operation.caller.request_id,
        "identity_platform": identity.platform if identity else None,
        "identity_value": dict(identity.value) if identity else None,
        "target": _target_document(operation.target) if operation.target else None,
        "target_plan_id": operation.target.plan_id if operation.target else None,
        "lease_token": operation.lease_token,
        "started_at": operation.started_at,
        **outcome_values(operation),
    }
    return {f"operation_{name}": value for name, value in values.items()}


def outcome_values(operation: Operation) -> dict[str, Any]:
    """Return the columns that finishing an operation writes."""
    return {
        "state": operation.state.value,
        "description": operation.description,
        "error": operation.error,
        "instance_usable": operation.instance_usable,
        "update_repeatable": operation.update_repeatable,
    }


def to_operation(row: Row) -> Operation:
    """Build an operation from its row."""
    identity = None
    if row.identity_platform is not None:
        identity = OriginatingIdentity(row.identity_platform, row.identity_value)
    return Operation(
        id=row.id,
        kind=OperationKind(row.kind),
        instance=InstanceKey(row.platform, row.instance_id),
        binding_id=row.binding_id,
        state=OperationState(row.state),
        caller=Caller(platform=row.platform, request_id=row.request_id, identity=identity),
        lease_token=row.lease_token,
        started_at=row.started_at,
        target=None if row.target is None else _to_target(row.target),
        description=row.description,
        error=row.error,
        instance_usable=row.instance_usable,
        update_repeatable=row.update_repeatable,
    )


def _target_document(target: UpdateTarget) -> dict[str, Any]:
    return {
        "plan_id": target.plan_id,
        "parameters": dict(target.parameters),
        "context": dict(target.context),
        "extensions": list(target.extensions),
        "maintenance_version": target.maintenance_version,
    }


def _to_target(document: dict[str, Any]) -> UpdateTarget:
    return UpdateTarget(**{**document, "extensions": tuple(document["extensions"])})
