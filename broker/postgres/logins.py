"""Login roles: ensure.

Belongs here: what bind does on the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.domain.database import Access
from broker.domain.errors import PermanentFailure
from broker.postgres import statements
from broker.postgres.databases import existing
from broker.postgres.membership import join_owners

if TYPE_CHECKING:
    from broker.domain.database import LoginSpec
    from broker.postgres.connections import Connections
    from broker.postgres.hold import Hold


BATCH = 100
"""Relations granted in one transaction: each takes a place in the server's lock table."""


async def ensure_login(connections: Connections, hold: Hold, spec: LoginSpec) -> None:
    """Create a login role, or make the one that is there what the specification says.

    Raises:
        PermanentFailure: The role exists and is another binding's, or the database is missing.
    """
    await existing(hold)
    if spec.access is Access.READ:
        await let_read(connections, hold, spec.database)
    found = (await hold.roles([spec.name])).get(spec.name)
    if found is None:
        await statements.run(hold.connection, *statements.create_login(spec))
    elif found.tag == spec.tag:
        await statements.run(hold.connection, *statements.alter_login(spec))
    else:
        raise PermanentFailure(
            f"The role {spec.name!r} exists on the server and is not this binding's. Ask the "
            "operator of this broker to find out whose it is; nothing has been changed."
        )


async def let_read(connections: Connections, hold: Hold, group: str) -> None:
    """Give the read-only group role what default privileges did not.

    They cover what the owner role creates. A login that gave up that role (SET ROLE NONE) owns
    what it creates itself, and a tenant can revoke what was granted. A lock of the tenant's own
    can make this wait; nobody is disconnected for it, because nothing is being taken away.
    """
    async with connections.tenant(hold) as tenant:
        await join_owners(tenant, hold.facts.version)
        cursor = await tenant.execute(statements.UNREADABLE_SCHEMAS, [group])
        schemas = [name for (name,) in await cursor.fetchall()]
        cursor = await tenant.execute(statements.UNREADABLE_RELATIONS, [group])
        relations = await cursor.fetchall()
        if schemas:
            await tenant.execute(statements.let_into_schemas(group, schemas))
        for start in range(0, len(relations), BATCH):
            await tenant.execute(statements.let_read(group, relations[start : start + BATCH]))
