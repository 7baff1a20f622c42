"""Extensions of a tenant's database.

Belongs here: installing and removing them, and the reasons why
that may not be possible, for the user who asked.

See the PostgreSQL manual, "CREATE EXTENSION" and "DROP EXTENSION".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
from psycopg import errors

from broker.domain.errors import Unprocessable
from broker.postgres import statements
from broker.postgres.errors import is_busy, is_lost

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.postgres.facts import Facts


async def add_extensions(
    tenant: psycopg.AsyncConnection, names: Sequence[str], facts: Facts
) -> None:
    """Install extensions into schema ``public``, or into the one they insist on.

    Args:
        tenant: To the tenant's database.
        names: Those already installed are left alone.
        facts: About the server.

    Raises:
        Unprocessable: The server does not have one of them, or it cannot be installed.
    """
    if not names:
        return
    cursor = await tenant.execute(statements.EXTENSIONS, [list(names)])
    available = {
        name: (schema, installable) for name, schema, installable in await cursor.fetchall()
    }
    for name in names:
        if name not in available:
            raise Unprocessable(
                f"The server of this plan does not have the extension {name!r}. Leave it out, or "
                "choose another plan."
            )
        schema, installable = available[name]
        if not (installable or facts.is_superuser):
            raise Unprocessable(
                f"The extension {name!r} can only be installed by a superuser, which this broker "
                "is not. Leave it out, or choose another plan."
            )
        try:
            await tenant.execute(statements.create_extension(name, schema or "public"))
        except psycopg.Error as exc:
            if is_busy(exc) or is_lost(exc):
                raise
            raise Unprocessable(
                f"The extension {name!r} cannot be installed (SQLSTATE {exc.sqlstate}): {_why(exc)}"
            ) from exc


async def drop_extensions(tenant: psycopg.AsyncConnection, names: Sequence[str]) -> None:
    """Remove extensions, unless something depends on them.

    Args:
        tenant: To the tenant's database, in a transaction.
        names: Those not installed are passed over.

    Raises:
        Unprocessable: Something depends on one of them, or it is not ours to remove.
    """
    for name in names:
        try:
            await tenant.execute(statements.drop_extension(name))
        except errors.DependentObjectsStillExist as exc:
            raise Unprocessable(
                f"The extension {name!r} is in use: objects in the database depend on it. Drop "
                "them first, then repeat the update."
            ) from exc
        except errors.InsufficientPrivilege as exc:
            raise Unprocessable(
                f"The extension {name!r} was installed by one of the instance's own users and not "
                "by the broker. Drop it as that user."
            ) from exc


def _why(exc: psycopg.Error) -> str:
    match exc:
        case errors.InsufficientPrivilege():
            return "it, or one that it requires, needs a superuser, which this broker is not."
        case errors.DuplicateObject() | errors.DuplicateFunction() | errors.DuplicateTable():
            return "the database has an object with a name the extension needs. Rename that first."
        case errors.InvalidSchemaName():
            return "the schema it goes into does not exist. Create it first."
        case _:
            return "ask the operator of this broker; its log has the server's own words."
