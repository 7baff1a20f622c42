"""The COMMENT that says whose something is, as a protocol; the store supplies it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from broker.domain.deleted import DeletedInstance, DeletedKey
    from broker.domain.instance import Binding, BindingKey, Instance, InstanceKey


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
