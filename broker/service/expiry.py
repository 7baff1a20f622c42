"""Expiry: the broker's own unbind of credentials that have ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from broker.domain.instance import Status
from broker.domain.operation import Caller, OperationKind, Work
from broker.service.context import carry_out, new_operation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from broker.domain.instance import BindingKey
    from broker.service.context import Broker, Outcome

REQUEST = "expiry"
"""What the operation has in place of a platform's request id."""


class ExpiryRecords(Protocol):
    """The bindings whose credentials have ended, as the state remembers them."""

    async def servers(self, before: datetime) -> Sequence[str]:
        """List the servers that have logins which ended before."""

    async def bindings(
        self, before: datetime, *, per_server: int
    ) -> Mapping[str, Sequence[BindingKey]]:
        """List the bindings that ended before, and that nothing is in progress about, by server.

        Args:
            before: Their end lies before.
            per_server: The most of one server: those never tried first, then those whose last
                unbind is the longest ago.
        """


async def expire(broker: Broker, key: BindingKey, *, before: datetime) -> Outcome | None:
    """Unbind a binding whose credentials ended before some time; recorded like any other unbind.

    Args:
        broker: The collaborators.
        key: The binding.
        before: Its end must lie before.

    Returns:
        How far it is, or ``None`` when it is not there any more, or something is in progress: the
        next time is soon enough.

    Raises:
        BrokerError: It failed, and is recorded so.
    """
    async with broker.store.transaction() as state:
        instance = await state.instance(key.instance)
        stored = await state.binding(key)
        if instance is None or instance.status is not Status.READY or stored is None:
            return None
        # The id may have been used again since it was listed.
        if stored.expires_at is None or stored.expires_at >= before:
            return None
        if await state.active_operations(key.instance):
            return None
        caller = Caller(key.instance.platform, REQUEST)
        operation = new_operation(
            broker, OperationKind.UNBIND, key.instance, caller, binding_id=key.binding_id
        )
        await state.record(operation, Status.DELETING, lease=broker.lease)
        work = Work(operation, instance, (stored,))
    return await carry_out(broker, work, plan=None, accepts_incomplete=True)
