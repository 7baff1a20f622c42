"""The bindings whose credentials have ended: the statements, and what runs them."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from sqlalchemy import DateTime, Integer, bindparam, exists, func, select

from broker.domain.instance import BindingKey, InstanceKey, Status
from broker.domain.operation import OperationKind, OperationState
from broker.store.tables import bindings, instances, operations

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from broker.store.execution import Execute

_over = bindings.c.expires_at < bindparam("before", type_=DateTime(timezone=True))
_of_instance = (bindings.c.platform == instances.c.platform) & (
    bindings.c.instance_id == instances.c.instance_id
)
_SERVERS = (
    select(instances.c.server).distinct().join_from(instances, bindings, _of_instance).where(_over)
)
# By the order of recording: replicas' clocks differ.
_last_attempt = (
    select(func.max(operations.c.sequence))
    .where(
        operations.c.platform == bindings.c.platform,
        operations.c.instance_id == bindings.c.instance_id,
        operations.c.binding_id == bindings.c.binding_id,
        operations.c.kind == OperationKind.UNBIND.value,
    )
    .scalar_subquery()
)
_busy = exists().where(
    operations.c.platform == bindings.c.platform,
    operations.c.instance_id == bindings.c.instance_id,
    operations.c.state == OperationState.IN_PROGRESS.value,
)
_ranked = (
    select(
        bindings.c.platform,
        bindings.c.instance_id,
        bindings.c.binding_id,
        instances.c.server,
        func.row_number()
        .over(
            partition_by=instances.c.server,
            # What fails again and again keeps no other from its turn.
            order_by=(_last_attempt.nulls_first(), bindings.c.expires_at, bindings.c.binding_id),
        )
        .label("place"),
    )
    .join_from(instances, bindings, _of_instance)
    .where(_over, instances.c.status == Status.READY.value, ~_busy)
    .subquery()
)
_BINDINGS = (
    select(_ranked)
    .where(_ranked.c.place <= bindparam("per_server", type_=Integer))
    .order_by(_ranked.c.server, _ranked.c.place)
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

    async def bindings(
        self, before: datetime, *, per_server: int
    ) -> Mapping[str, Sequence[BindingKey]]:
        """List the bindings that ended before, and that nothing is in progress about, by server.

        Args:
            before: Their end lies before.
            per_server: The most of one server: those never tried first, then those whose last
                unbind is the longest ago.
        """
        found = await self._execute(_BINDINGS, {"before": before, "per_server": per_server})
        return {
            server: [
                BindingKey(InstanceKey(row.platform, row.instance_id), row.binding_id)
                for row in of_server
            ]
            for server, of_server in groupby(found, key=lambda row: row.server)
        }
