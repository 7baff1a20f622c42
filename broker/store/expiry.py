"""The bindings whose credentials have ended: the statements, and what runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import DateTime, Integer, bindparam, select

from broker.domain.instance import BindingKey, InstanceKey, Status
from broker.store.tables import bindings, instances

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from broker.store.storage import Execute

_over = bindings.c.expires_at < bindparam("before", type_=DateTime(timezone=True))
_of_instance = (bindings.c.platform == instances.c.platform) & (
    bindings.c.instance_id == instances.c.instance_id
)
_SERVERS = (
    select(instances.c.server).distinct().join_from(instances, bindings, _of_instance).where(_over)
)
_BINDINGS = (
    select(bindings.c.platform, bindings.c.instance_id, bindings.c.binding_id)
    .join_from(instances, bindings, _of_instance)
    .where(_over, instances.c.status == Status.READY.value)
    .order_by(bindings.c.expires_at)
    .limit(bindparam("limit", type_=Integer))
)


class ExpiredBindings:
    """The expired bindings (``broker.service.expiry.ExpiryRecords``).

    Args:
        execute: Runs a statement that may be repeated.
    """

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    async def servers(self, before: datetime) -> Sequence[str]:
        """List the servers that have logins which ended before."""
        return [row.server for row in await self._execute(_SERVERS, {"before": before})]

    async def bindings(self, before: datetime, *, limit: int) -> Sequence[BindingKey]:
        """List the bindings that ended before and are still there, the oldest first."""
        found = await self._execute(_BINDINGS, {"before": before, "limit": limit})
        return [
            BindingKey(InstanceKey(row.platform, row.instance_id), row.binding_id) for row in found
        ]
