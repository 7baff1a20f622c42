"""The job queue in the state database: procrastinate's tables, in a schema of our naming.

Belongs here: bringing it to the version of the installed library. What is put into the queue is
the business of ``broker/operations``; the functions that do it within a transaction on the state
are part of the state's schema (``migrations/versions``).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from procrastinate.schema import SchemaManager
from sqlalchemy import column, func, insert, select, table, text
from sqlalchemy.schema import CreateSchema

if TYPE_CHECKING:
    from sqlalchemy import Connection

QUEUE_SCHEMA = "pgbroker_jobs"
"""The PostgreSQL schema that holds procrastinate's tables and functions."""

_APPLIED = table("applied", column("script"), schema=QUEUE_SCHEMA)
_CREATE_APPLIED = text(
    f"CREATE TABLE IF NOT EXISTS {QUEUE_SCHEMA}.applied (script text PRIMARY KEY)"
)
_JOBS = select(func.to_regclass(f"{QUEUE_SCHEMA}.procrastinate_jobs"))


def bring_up_to_date(connection: Connection) -> list[str]:
    """Create the queue's schema, or apply what the installed library has new.

    The library ships its whole schema in one file and every change to it in further ones, but does
    not note in the database which were applied.

    Args:
        connection: In a transaction; nothing else works on the schema meanwhile.

    Returns:
        The names of the scripts applied, in order.
    """
    connection.execute(CreateSchema(QUEUE_SCHEMA, if_not_exists=True))
    connection.execute(_CREATE_APPLIED)
    scripts = sorted(Path(SchemaManager.get_migrations_path()).glob("*.sql"))
    done = set(connection.scalars(select(_APPLIED.c.script)))
    new = [script for script in scripts if script.name not in done]
    if connection.scalar(_JOBS) is None:
        _run(connection, SchemaManager.get_schema())
        applied = ["schema.sql"]
    else:
        for script in new:
            _run(connection, script.read_text("utf-8"))
        applied = [script.name for script in new]
    if new:
        connection.execute(insert(_APPLIED), [{"script": script.name} for script in new])
    return applied


def _run(connection: Connection, script: str) -> None:
    """Run a script of many statements, which only a cursor without parameters can."""
    path = func.set_config("search_path", f"{QUEUE_SCHEMA}, pg_temp", True)
    before = connection.scalar(select(func.current_setting("search_path")))
    connection.execute(select(path))
    cursor = connection.connection.cursor()
    try:
        cursor.execute(script)
    finally:
        cursor.close()
    connection.execute(select(func.set_config("search_path", before, True)))
