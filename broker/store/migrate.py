"""Bringing the state database's schema to the code's revision.

The revisions are in ``migrations/versions`` (Alembic), shipped with the package.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from alembic.command import upgrade
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import func, select
from sqlalchemy.schema import CreateSchema

from broker.store.connect import create_engine
from broker.store.errors import schema_differs, translated, wrong_encoding
from broker.store.queue import bring_up_to_date
from broker.store.statements import READ_REVISION
from broker.store.tables import SCHEMA

if TYPE_CHECKING:
    from sqlalchemy import Connection

_LOCK_TIMEOUT = "2min"
"""How long to wait for another replica's migration."""


_ENCODING = "UTF8"
"""What identifiers of all platforms can be stored in."""


@cache
def head() -> str:
    """Return the revision of the schema that this version of the code needs."""
    found = ScriptDirectory.from_config(configuration()).get_current_head()
    if found is None:
        raise RuntimeError("The package was built without its migrations.")
    return found


async def migrate(dsn: str) -> list[str]:
    """Bring the schema to the revision of the code, all of it or nothing, in one transaction.

    Replicas that start at once wait for the first one and then find nothing to do.

    Args:
        dsn: The state database, as a libpq connection string or URI.

    Returns:
        The revisions applied, oldest first; none when the schema was up to date.

    Raises:
        StateUnavailable: The database cannot be reached, or is newer than the code.
    """
    engine = create_engine(dsn, lock_timeout=_LOCK_TIMEOUT, statement_timeout="0")
    try:
        with translated():
            async with engine.begin() as connection:
                setting = select(func.current_setting("server_encoding"))
                found = (await connection.execute(setting)).scalar_one()
                if found != _ENCODING:
                    raise wrong_encoding(found, _ENCODING)
                key = func.hashtextextended(f"{SCHEMA} migrate", 0)
                await connection.execute(select(func.pg_advisory_xact_lock(key)))
                await connection.execute(CreateSchema(SCHEMA, if_not_exists=True))
                await connection.run_sync(bring_up_to_date)
                return await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> list[str]:
    applied: list[str] = []
    try:
        upgrade(configuration(connection=connection, applied=applied), "head")
    except CommandError as exc:
        found = connection.execute(READ_REVISION).scalar_one()
        raise schema_differs(found, head()) from exc
    return applied


def configuration(**attributes: object) -> Config:
    """Return what Alembic's commands take, for the migrations of this package.

    Args:
        attributes: What ``migrations/env.py`` needs: the ``connection`` to work on, in a
            transaction, and the list ``applied``, to which it adds the revisions.
    """
    config = Config()
    directory = str(files("broker.store") / "migrations")
    config.set_main_option("script_location", directory.replace("%", "%%"))
    config.attributes.update(attributes)
    return config
