"""Deleted instances whose data is kept for a while, and what may become of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from broker.domain.errors import InvalidRequest, Unprocessable
from broker.domain.instance import Instance, InstanceKey, Status
from broker.domain.storage import StorageState

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any
    from uuid import UUID

    from broker.domain.catalog import Plan
    from broker.domain.requests import ProvisionRequest


class Stage(StrEnum):
    """Where the data of a deleted instance is.

    ::

        DELETING ──> RETAINED ──> PURGING ──> (row removed with the database)
            ^          │   ^
            │          v   └── the restore was refused
            └────── RESTORING ──> (row removed, the instance is ready)
        a restore that is
        deleted before its end
    """

    DELETING = "deleting"
    """On its way aside; an instance record goes with it."""
    RETAINED = "retained"
    """Aside: nobody can connect, no login is left."""
    RESTORING = "restoring"
    """On its way back; an instance record goes with it."""
    PURGING = "purging"
    """About to be dropped; there is no way back."""


ATTACHED = frozenset({Stage.DELETING, Stage.RESTORING})
"""The stages in which an instance record goes with it."""


@dataclass(frozen=True, slots=True)
class DeletedKey:
    """Which deleted instance: a platform may delete the same id again and again.

    Attributes:
        instance: What it was called.
        id: The broker's own id of this deletion.
    """

    instance: InstanceKey
    id: UUID


@dataclass(frozen=True, slots=True)
class DeletedInstance:
    """A deleted instance whose data is kept.

    Attributes:
        id: The broker's own id of this deletion.
        instance: What it was.
        deleted_at: When the platform asked for its deletion.
        purge_at: When the data may be dropped.
        stage: Where the data is.
        attached: The id of the instance record that goes with it: its own former one while it is
            being deleted, the new one while it is being restored. ``None`` in other stages.
    """

    id: UUID
    instance: Instance
    deleted_at: datetime
    purge_at: datetime
    stage: Stage
    attached: str | None = None

    @property
    def key(self) -> DeletedKey:
        """Which one."""
        return DeletedKey(self.instance.key, self.id)

    def moved(self, stage: Stage, *, attached: str | None = None) -> DeletedInstance:
        """Return it in another stage."""
        return replace(self, stage=stage, attached=attached)

    # Restored as RELEASING: if the database was full, and so read-only, when it was deleted, the
    # upkeep of storage limits makes it writable, and finds out whether it still is.

    def revived(self, *, tag_key_id: str) -> Instance:
        """Return the instance as it was, about to be put back under its former id."""
        return replace(
            self.instance,
            status=Status.CREATING,
            tag_key_id=tag_key_id,
            storage=StorageState.RELEASING,
        )

    def given_to(self, instance: Instance) -> Instance:
        """Return a new instance with this database in place of one of its own."""
        former = self.instance
        return replace(
            instance,
            server=former.server,
            database=former.database,
            owner=former.owner,
            extensions=tuple(dict.fromkeys((*former.extensions, *instance.extensions))),
            storage=StorageState.RELEASING,
        )


# These name or describe a place, or the instance itself, and may be changed by its people (profile
# of the OSB API 2.17, "Context Object"). Whatever else a platform says may tell tenants apart.
_DESCRIPTIONS = frozenset(
    {
        "instance_annotations",
        "instance_name",
        "namespace_annotations",
        "organization_annotations",
        "organization_name",
        "space_annotations",
        "space_name",
    }
)


def place(
    context: Mapping[str, Any], organization_guid: str | None, space_guid: str | None
) -> dict[str, Any]:
    """Return what a request says of the place it comes from, by the names of its fields.

    Args:
        context: Of the request: all that is said there counts but names and annotations, for
            every platform has words of its own for its tenants, such as ``subaccount_id``.
        organization_guid: Of the request itself.
        space_guid: Likewise.

    Returns:
        It is empty when the request says no more than the kind of its platform.
    """
    said = {name: value for name, value in context.items() if name not in _DESCRIPTIONS}
    outside = {"organization_guid": organization_guid, "space_guid": space_guid}
    told = {f"context.{name}": value for name, value in said.items()} | outside
    told = {name: value for name, value in told.items() if value not in (None, "")}
    return {} if told.keys() <= {"context.platform"} else told


def check_same_place(found: DeletedInstance | None, request: ProvisionRequest) -> DeletedInstance:
    """Refuse to restore what was not deleted by the same platform in the same place.

    The refusal is always the same, so that it does not tell whether there is such an instance.
    Requests that say no place are refused: nobody could tell one tenant's from another's.

    Args:
        found: The retained instance that the request names, of the request's platform.
        request: Asks for a new instance made from it.

    Returns:
        What was found.

    Raises:
        InvalidRequest: There is none that this request may have.
    """
    here = place(request.context, request.organization_guid, request.space_guid)
    if (
        found is None
        or found.stage is not Stage.RETAINED
        or found.instance.service_id != request.service_id
        or not here
        or _place_of(found.instance) != here
    ):
        raise InvalidRequest(
            "There is no deleted service instance of that id to restore here. It must have been "
            "deleted by the same platform, of the same service offering, in the same organization "
            "and space, the same cluster and namespace, or whatever else the platform's context "
            "says, and be kept still; a deletion has to be finished first. Nothing has been "
            "changed."
        )
    return found


def _place_of(instance: Instance) -> dict[str, Any]:
    return place(instance.context, instance.organization_guid, instance.space_guid)


def check_room(plan: Plan, used: int) -> None:
    """Refuse to restore data into a plan that is too small for it.

    Args:
        plan: Of the new instance.
        used: Bytes that the retained database occupies.

    Raises:
        Unprocessable: It does not fit.
    """
    limit = plan.limits.storage
    if limit is not None and used > limit:
        raise Unprocessable(
            f"The deleted database occupies {used:,} bytes and the plan {plan.name!r} allows "
            f"{limit:,}; choose a larger plan. Nothing has been changed."
        )


def check_extensions(plan: Plan, extensions: tuple[str, ...]) -> None:
    """Refuse to restore a database into a plan that does not offer what it has.

    Raises:
        Unprocessable: One of its extensions is missing from the plan.
    """
    offered = {*plan.extensions.allowed, *plan.extensions.default}
    missing = [name for name in extensions if name not in offered]
    if missing:
        raise Unprocessable(
            f"The deleted database has the extension {missing[0]!r}, which the plan {plan.name!r} "
            "does not offer; choose a plan that does. Nothing has been changed."
        )
