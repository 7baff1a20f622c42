"""Dropping a database of the warm stock that no record knows.

Belongs here: the proof that it is one and that nobody has ever used it. Credentials are handed out
only for databases that say whose they are, so this asks for no more than what must be so anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.domain.errors import PermanentFailure
from broker.postgres import spare_statements as sql
from broker.postgres import statements
from broker.postgres.databases import look
from broker.postgres.retire import drop_database
from broker.postgres.server_statements import allow_connections

if TYPE_CHECKING:
    from broker.domain.database import DatabaseSpec
    from broker.postgres.connections import Connections
    from broker.postgres.hold import Hold


async def drop_spare(connections: Connections, hold: Hold, spec: DatabaseSpec) -> None:
    """Drop a database with its group roles, if all of it has the tag and nobody was ever in it.

    Args:
        connections: To the server.
        hold: The lock of the database.
        spec: The database; its tag is that of the stock.

    Raises:
        PermanentFailure: It is not of the stock, or is in use; nothing has been changed.
    """
    found = await look(hold, spec.tag)
    if found is not None and found.tag != spec.tag:
        raise _kept(spec.name, "its comment does not say that it is of the warm stock")
    groups = (await hold.look()).groups
    if any(role.tag != spec.tag for role in groups.values()):
        raise _kept(spec.name, "a role of its name does not say that it is of the warm stock")
    if found is not None and found.connection_limit != statements.INVALID_DATABASE:
        if not found.connectable:
            # Closed as unknown: PostgreSQL lets nobody look into it. Nobody is granted CONNECT.
            await statements.run(hold.connection, allow_connections(spec.name, allow=True))
        try:
            await _check_contents(connections, hold, spec.name)
            await _check_others(hold, spec)
        except BaseException:
            if not found.connectable:
                await statements.run(hold.connection, allow_connections(spec.name, allow=False))
            raise
    await drop_database(connections, hold, spec, ())


async def _check_contents(connections: Connections, hold: Hold, database: str) -> None:
    async with connections.tenant(hold) as tenant:
        row = await (await tenant.execute(sql.CONTENTS)).fetchone()
    if row != (0,):
        raise _kept(database, "somebody has made something in it")


async def _check_others(hold: Hold, spec: DatabaseSpec) -> None:
    values = {"database": spec.name, "groups": [spec.name, spec.owner]}
    row = await (await hold.connection.execute(sql.OTHERS, values)).fetchone()
    if row != (0, 0):
        raise _kept(spec.name, "somebody is connected to it, or has a login for it")


def _kept(database: str, reason: str) -> PermanentFailure:
    return PermanentFailure(
        f"The database {database!r} is left as it is: {reason}. Find out whose it is; drop it by "
        "hand when nobody needs it."
    )
