"""Taking a database from the warm stock, for a provision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.domain.decide import is_maintained
from broker.domain.parameters import InstanceParameters, provision_extensions
from broker.domain.warm import fingerprint, suits

if TYPE_CHECKING:
    from broker.domain.catalog import Plan
    from broker.domain.instance import Instance
    from broker.domain.operation import Operation
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


def is_all(request: ProvisionRequest, plan: Plan) -> bool:
    """Tell whether a database of the stock is all that a request asks for, as it is."""
    parameters = InstanceParameters.parse(request.parameters)
    return (
        plan.warm > 0
        and suits(parameters)
        and provision_extensions(plan, parameters) == plan.extensions.default
        and is_maintained(plan, request.maintenance_version)
    )


async def hand_over(
    broker: Broker, instance: Instance, operation: Operation, plan: Plan
) -> Location | None:
    """Record a new instance as finished, with a database that is all it asks for.

    Nothing happens on the server: the database says that it is the instance's a moment later, and
    before anybody gets credentials for it.

    Args:
        broker: The collaborators.
        instance: The instance, wherever its database will be.
        operation: Its provision, as it has ended.
        plan: Its plan.

    Returns:
        Where its database is; ``None`` when there is none, or the instance exists.
    """
    return await broker.store.warm.hand_over(
        instance,
        operation,
        fingerprint=fingerprint(plan, broker.tag_key_id),
        servers=broker.servers.suitable(plan),
    )
