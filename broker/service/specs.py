"""What the engine is asked for: an instance or binding, its plan's limits and its tags in one.

Belongs here: how records become specifications, for operations and for reconciling alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.domain.database import DatabaseSpec, Limits, LoginSpec
from broker.domain.parameters import InstanceParameters

if TYPE_CHECKING:
    from broker.domain.instance import Binding, Instance
    from broker.service.ports import Tags

NO_LIMITS = Limits(connections=0, connections_per_binding=0)
"""For what is about to be dropped: its plan may have left the catalog."""


def database_spec(instance: Instance, limits: Limits, tags: Tags) -> DatabaseSpec:
    """Return what an instance's database should be.

    Raises:
        PermanentFailure: The key of its tags is not configured.
    """
    parameters = InstanceParameters.parse(instance.parameters)
    return DatabaseSpec(
        name=instance.database,
        owner=instance.owner,
        tag=tags.instance(instance.key, instance.tag_key_id),
        limits=limits,
        extensions=instance.extensions,
        added_extensions=parameters.extensions,
        options=parameters.options,
        record=tags.instance_record(instance),
    )


def login_spec(instance: Instance, binding: Binding, limits: Limits, tags: Tags) -> LoginSpec:
    """Return what a binding's login role should be.

    Raises:
        PermanentFailure: The key of its instance's tags is not configured.
    """
    return LoginSpec(
        name=binding.login,
        database=instance.database,
        owner=instance.owner,
        access=instance.access_of(binding),
        verifier=None if binding.secret is None else binding.secret.verifier,
        limits=limits,
        tag=tags.binding(binding.key, instance.tag_key_id),
        valid_until=binding.expires_at,
        record=tags.binding_record(binding, instance.tag_key_id),
    )
