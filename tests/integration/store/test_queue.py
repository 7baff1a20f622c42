"""The job queue: its schema, and the jobs that come and go with operations."""

from __future__ import annotations

import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from procrastinate.schema import SchemaManager

from broker.domain.errors import ConcurrencyError, TemporaryFailure
from broker.domain.instance import Status
from broker.store import migrate
from tests.integration.store.observe import query
from tests.integration.store.records import an_instance, an_operation

if TYPE_CHECKING:
    from pathlib import Path

    from broker.store import PostgresStore

LEASE = timedelta(minutes=5)

JOBS = """
    SELECT args ->> 'operation_id', task_name, status::text,
        scheduled_at > now() + interval '4 minutes'
    FROM pgbroker_jobs.procrastinate_jobs
"""


def with_one_more(directory: Path) -> int:
    """Copy the library's scripts and add one; return how many there are."""
    shutil.copytree(SchemaManager.get_migrations_path(), directory, dirs_exist_ok=True)
    new = directory / "99.00.00_01_pre_something_new.sql"
    new.write_text("CREATE TABLE something_new (); CREATE FUNCTION a() RETURNS int RETURN 1;")
    return len(list(directory.glob("*.sql")))


async def test_the_library_s_changes_are_applied_once(
    empty_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new database gets the whole schema; later, only the scripts that a newer library brings."""
    await migrate(empty_dsn)
    await migrate(empty_dsn)
    scripts = with_one_more(tmp_path)
    monkeypatch.setattr(SchemaManager, "get_migrations_path", staticmethod(lambda: str(tmp_path)))
    await migrate(empty_dsn)
    await migrate(empty_dsn)
    assert await query(
        empty_dsn, "SELECT to_regclass('pgbroker_jobs.something_new') IS NOT NULL"
    ) == [(True,)]
    assert await query(empty_dsn, "SELECT count(*) FROM pgbroker_jobs.applied") == [(scripts,)]


async def test_a_job_lasts_as_long_as_its_operation(store: PostgresStore, state_dsn: str) -> None:
    """Recording an operation writes its takeover job; finishing or halting it takes the job out."""
    first, second, third = an_instance(), an_instance(), an_instance()
    for instance in (first, second, third):
        async with store.transaction() as state:
            recorded = await state.record(an_operation(instance.key), instance, lease=LEASE)
            assert recorded
    jobs = await query(state_dsn, JOBS)
    assert [job[1:] for job in jobs] == [("take_over", "todo", True)] * 3
    operations = [await store.last_operation(each.key) for each in (first, second, third)]
    assert {job[0] for job in jobs} == {str(each.id) for each in operations if each}
    one, two, three = (each for each in operations if each is not None)
    assert await store.finish(one.succeeded(), Status.READY)
    async with store.transaction() as state:
        assert await state.finish_operation(two.failed(TemporaryFailure("It failed.")))
        assert await state.halt_operation(three.failed(TemporaryFailure("Halted.")))
    assert await query(state_dsn, JOBS) == []


async def test_what_is_not_recorded_leaves_no_job(store: PostgresStore, state_dsn: str) -> None:
    """A key that is taken, or a transaction that fails, leaves neither operation nor job."""
    instance = an_instance()
    async with store.transaction() as state:
        assert await state.add_instance(instance)
    async with store.transaction() as state:
        assert not await state.record(an_operation(instance.key), instance, lease=LEASE)
    async with store.transaction() as state:
        await state.record(an_operation(instance.key), Status.DELETING, lease=LEASE)
        with pytest.raises(ConcurrencyError):
            await state.record(an_operation(instance.key), Status.DELETING, lease=LEASE)
    assert await query(state_dsn, JOBS) == []
    assert await store.last_operation(instance.key) is None


async def test_finished_operations_are_forgotten_after_their_time(
    store: PostgresStore, state_dsn: str
) -> None:
    """What is over for long enough goes; what is newer, or in progress, stays."""
    old, new, running = an_instance(), an_instance(), an_instance()
    for instance in (old, new, running):
        async with store.transaction() as state:
            await state.record(an_operation(instance.key), instance, lease=LEASE)
    for instance in (old, new):
        operation = await store.last_operation(instance.key)
        assert operation is not None
        assert await store.finish(operation.succeeded(), Status.READY)
    await query(
        state_dsn,
        "UPDATE pgbroker.operations SET finished_at = now() - interval '8 days'"
        " WHERE instance_id = %s",
        old.key.instance_id,
    )
    assert await store.forget_operations(timedelta(days=7)) == 1
    assert await store.last_operation(old.key) is None
    assert await store.last_operation(new.key) is not None
    assert await store.last_operation(running.key) is not None
