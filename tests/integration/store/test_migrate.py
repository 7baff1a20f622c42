"""Migrations: from nothing, repeated, concurrent; and what runs against the wrong schema."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from alembic import command
from sqlalchemy.schema import CreateSchema

from broker.domain.errors import StateUnavailable
from broker.store import PostgresStore, migrate
from broker.store.connect import create_engine
from broker.store.migrate import configuration
from broker.store.tables import SCHEMA, metadata
from tests.integration.store.observe import query
from tests.integration.store.records import an_instance, record

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


async def test_migrations_lead_to_the_tables_of_the_code(state_dsn: str, empty_dsn: str) -> None:
    """Migrating makes what the table definitions say, check constraints and indexes included."""
    engine = create_engine(empty_dsn, pool_size=1)
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

    engine = create_engine(state_dsn, pool_size=1)
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
