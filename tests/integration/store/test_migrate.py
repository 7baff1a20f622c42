"""Migrations: from nothing, repeated, concurrent; and what runs against the wrong schema."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy.schema import CreateSchema

from broker.domain.errors import StateUnavailable
from broker.domain.instance import Status
from broker.store import PostgresStore, migrate
from broker.store.connect import create_engine
from broker.store.migrate import configuration
from broker.store.tables import SCHEMA, metadata
from tests.integration.store.observe import query
from tests.integration.store.records import a_binding, an_instance, an_operation, record

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from broker.store import KeyRing

SHAPE = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'pgbroker'::regnamespace AND conrelid::regclass::text !~ 'alembic'
    UNION ALL
    SELECT tablename, indexname, indexdef FROM pg_indexes
    WHERE schemaname = 'pgbroker' AND tablename !~ 'alembic'
    UNION ALL
    SELECT table_name, column_name, concat_ws(' ', data_type, udt_name, is_nullable, is_identity)
    FROM information_schema.columns WHERE table_schema = 'pgbroker' AND table_name !~ 'alembic'
    ORDER BY 1, 2, 3
"""
"""Every constraint, index and column of the schema."""


COLUMNS = """
    SELECT table_name, array_agg(column_name::text) FROM information_schema.columns
    WHERE table_schema = 'pgbroker' AND table_name = ANY (%s) GROUP BY table_name
"""

TAKEOVERS = """
    SELECT task_name, args ->> 'operation_id', scheduled_at = lease_until
    FROM pgbroker_jobs.procrastinate_jobs
        JOIN pgbroker.operations ON queueing_lock = operations.id::text
    WHERE status = 'todo'
"""


async def migrate_to(dsn: str, revision: str) -> None:
    """Bring an empty database to an old revision."""

    def bring(connection: Connection) -> None:
        command.upgrade(configuration(connection=connection, applied=[]), revision)

    engine = create_engine(dsn)
    async with engine.begin() as connection:
        await connection.execute(CreateSchema(SCHEMA))
        await connection.run_sync(bring)
    await engine.dispose()


async def copy_rows(source: str, target: str, tables: list[str]) -> None:
    """Copy the rows of tables, in this order, as far as the target has the columns."""
    columns = dict(await query(target, COLUMNS, tables))
    async with (
        await psycopg.AsyncConnection.connect(source) as reading,
        await psycopg.AsyncConnection.connect(target) as writing,
    ):
        for table in tables:
            names = sql.SQL(", ").join(map(sql.Identifier, columns[table]))
            which = sql.SQL("COPY {} ({}) ").format(sql.Identifier(SCHEMA, table), names)
            async with (
                reading.cursor().copy(which + sql.SQL("TO STDOUT")) as rows,
                writing.cursor().copy(which + sql.SQL("FROM STDIN")) as copied,
            ):
                async for row in rows:
                    await copied.write(row)


async def test_migrations_lead_to_the_tables_of_the_code(state_dsn: str, empty_dsn: str) -> None:
    """Migrating makes what the table definitions say, check constraints and indexes included."""
    engine = create_engine(empty_dsn)
    async with engine.begin() as connection:
        await connection.execute(CreateSchema(SCHEMA))
        await connection.run_sync(metadata.create_all)
    await engine.dispose()
    migrated = await query(state_dsn, SHAPE)
    assert len(migrated) > 80
    assert migrated == await query(empty_dsn, SHAPE)


async def test_alembic_finds_nothing_to_migrate(state_dsn: str) -> None:
    """`alembic check` passes: autogeneration sees no difference to the table definitions."""

    def check(connection: Connection) -> None:
        command.check(configuration(connection=connection, applied=[]))

    engine = create_engine(state_dsn)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(check)
    finally:
        await engine.dispose()


async def test_migrating_again_does_nothing(empty_dsn: str, keys: KeyRing) -> None:
    """The first run applies every revision, the next one none, and data stays."""
    applied = await migrate(empty_dsn)
    assert applied[0] == "0001"
    store = PostgresStore(empty_dsn, keys)
    await store.check()
    instance = an_instance()
    await record(store, instance)
    assert await migrate(empty_dsn) == []
    assert await store.instance(instance.key) == instance
    await store.close()


async def test_what_the_oldest_revision_holds_is_kept(
    store: PostgresStore, state_dsn: str, empty_dsn: str, keys: KeyRing
) -> None:
    """Migrated from the first revision, records are as they were, and work is taken over."""
    instance = replace(an_instance(), status=Status.READY)
    binding = replace(a_binding(instance.key), status=Status.CREATING)
    finished, active = an_operation(instance.key), an_operation(instance.key, "binding")
    await record(store, instance, binding, finished, active)
    assert await store.finish(finished.succeeded(), Status.READY)

    await migrate_to(empty_dsn, "0001")
    await copy_rows(state_dsn, empty_dsn, ["instances", "bindings", "operations"])
    scripts = ScriptDirectory.from_config(configuration()).walk_revisions("0001", "head")
    *later, oldest = [script.revision for script in scripts]
    assert oldest == "0001"
    assert await migrate(empty_dsn) == sorted(later)
    migrated = PostgresStore(empty_dsn, keys)
    await migrated.check()

    assert await migrated.instance(instance.key) == await store.instance(instance.key)
    assert await migrated.binding(binding.key) == binding
    for operation in (finished, active):
        assert await migrated.operation(operation.id) == await store.operation(operation.id)
    assert await query(empty_dsn, TAKEOVERS) == [("take_over", str(active.id), True)]
    await migrated.close()


async def test_replicas_that_migrate_at_once_take_turns(empty_dsn: str) -> None:
    """One applies the revisions; the others wait and find nothing to do."""
    applied = await asyncio.gather(*(migrate(empty_dsn) for _ in range(4)))
    assert sorted(map(bool, applied)) == [False, False, False, True]


async def test_an_unmigrated_database_is_not_served(empty_dsn: str, keys: KeyRing) -> None:
    """Readiness and requests say what to run."""
    store = PostgresStore(empty_dsn, keys)
    with pytest.raises(StateUnavailable, match="pgbroker migrate"):
        await store.check()
    with pytest.raises(StateUnavailable, match="pgbroker migrate"):
        await store.instance(an_instance().key)
    await store.close()


@pytest.mark.parametrize("revision", ["0000", "9999"])
async def test_another_revision_is_not_served(
    store: PostgresStore, state_dsn: str, revision: str
) -> None:
    """Older or newer, the message names both revisions and what to run."""
    await query(state_dsn, "UPDATE pgbroker.alembic_version SET version_num = %s", revision)
    with pytest.raises(StateUnavailable, match=rf"{revision}.* needs \d+.*pgbroker migrate"):
        await store.check()


async def test_a_newer_database_is_not_migrated(state_dsn: str) -> None:
    """An old program leaves the schema of a newer one alone and says so."""
    await query(state_dsn, "UPDATE pgbroker.alembic_version SET version_num = '9999'")
    before = await query(state_dsn, SHAPE)
    with pytest.raises(StateUnavailable, match="revision 9999"):
        await migrate(state_dsn)
    assert await query(state_dsn, SHAPE) == before


async def test_a_database_of_another_encoding_is_refused(ascii_dsn: str) -> None:
    """Whoever made the state database without UTF8 is told so, and nothing is created in it."""
    with pytest.raises(StateUnavailable, match=r"encoding is SQL_ASCII.*ENCODING 'UTF8'"):
        await migrate(ascii_dsn)
    schemas = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'pgbroker%%'"
    assert await query(ascii_dsn, schemas) == [(0,)]
