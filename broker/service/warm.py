"""Taking a database from the warm stock, for a provision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.domain.parameters import InstanceParameters
from broker.domain.warm import fingerprint, suits

if TYPE_CHECKING:
    from broker.domain.catalog import Plan
    from broker.domain.requests import ProvisionRequest
    from broker.domain.warm import Location
    from broker.service.context import Broker
    from broker.service.ports import StateTransaction


async def claim(
    broker: Broker, state: StateTransaction, request: ProvisionRequest, plan: Plan
) -> Location | None:
    """Take a database that can be what a request asks for; ``None`` when one has to be made.

    It is the request's once the transaction is committed, and back in the stock if that fails.
    """
    if not plan.warm or not suits(InstanceParameters.parse(request.parameters)):
        return None
    servers = broker.servers.suitable(plan)
    return await state.warm.claim(fingerprint(plan, broker.tag_key_id), servers)
