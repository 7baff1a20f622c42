"""Tags written anew on a real server: only while the record is locked in the state."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from psycopg.conninfo import conninfo_to_dict

from broker.domain.database import Endpoint
from broker.domain.errors import StateUnavailable, TemporaryFailure
from broker.domain.instance import Status
from broker.domain.operation import OperationKind
from broker.domain.warm import warm_key
from broker.postgres.look_statements import lock_key
from broker.providers.shared import SharedServer, SharedServers
from broker.service import retag
from tests.integration.postgres.replica import CATALOG, Life, a_replica
from tests.integration.postgres.tenants import rows, someone_waits_for, until
from tests.support.state import migrated_template, state_dsn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.integration.postgres.replica import Replica
    from tests.integration.postgres.tenants import Session
    from tests.support.postgres import PostgresServer

__all__ = ["migrated_template", "state_dsn"]

TAG = """
    SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s
"""
END_IDLE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = %s AND state = 'idle in transaction'
"""


@pytest.fixture
async def replica(postgres: PostgresServer, state_dsn: str) -> AsyncIterator[Replica]:
    """Return a replica."""
    async with a_replica(postgres, state_dsn) as replica:
        yield replica


@pytest.fixture
async def life(replica: Replica) -> AsyncIterator[Life]:
    """Return an instance that is ready, tagged with the key ``k1``."""
    new = Life.new()
    await replica.carry_out(OperationKind.PROVISION, new)
    yield replace(new, instance=replace(new.instance, status=Status.READY))
    await replica.clean(new)


async def retagged(replica: Replica, life: Life, key_id: str = "k2") -> bool:
    """Tag the instance with a key."""
    server = SharedServer("alpha", "default", Endpoint("127.0.0.1", 1), replica.engine)
    servers = SharedServers([server], CATALOG)
    return await retag.retag_instance(
        replica.store, servers, replica.tags, life.instance.key, key_id=key_id
    )


async def test_nothing_is_written_once_the_record_is_not_locked_any_more(
    replica: Replica, life: Life, superuser: Session, state_dsn: str
) -> None:
    """When the state ends the session that waits for the server, the tags stay as recorded."""
    database = life.instance.database
    before = await rows(superuser, TAG, database)
    await superuser.execute("SELECT pg_advisory_lock(%s)", [lock_key(database)])
    writing = asyncio.create_task(retagged(replica, life))
    await until(lambda: someone_waits_for(superuser, database))
    state = conninfo_to_dict(state_dsn)["dbname"]
    assert await rows(superuser, END_IDLE, state) == [(True,)]
    await superuser.execute("SELECT pg_advisory_unlock(%s)", [lock_key(database)])
    with pytest.raises(StateUnavailable):
        await writing
    assert await rows(superuser, TAG, database) == before
    assert await retagged(replica, life)
    assert await rows(superuser, TAG, database) != before
    # So that it can be cleaned up as it was recorded.
    assert await retagged(replica, life, "k1")


async def test_a_server_that_takes_long_is_not_waited_for(
    replica: Replica, life: Life, superuser: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the lock of the database is not waited for until the state gives up."""
    monkeypatch.setattr(retag, "PATIENCE", 0.2)
    database = life.instance.database
    await superuser.execute("SELECT pg_advisory_lock(%s)", [lock_key(database)])
    with pytest.raises(TemporaryFailure, match=f"{database}.*alpha.*again"):
        await retagged(replica, life)
    await superuser.execute("SELECT pg_advisory_unlock(%s)", [lock_key(database)])
    unchanged = await replica.store.instance(life.instance.key)
    assert unchanged is not None
    assert unchanged.tag_key_id == "k1"


async def test_what_was_handed_over_is_tagged_on_the_way(
    replica: Replica, life: Life, superuser: Session
) -> None:
    """A database that still says it is a spare one gets the new tags at once."""
    instance = life.instance
    stock_tag = replica.tags.instance(warm_key(instance.database), "k1")
    for statement in (
        f"COMMENT ON DATABASE {instance.database} IS '{stock_tag}'",
        f"COMMENT ON ROLE {instance.database} IS '{stock_tag}'",
        f"COMMENT ON ROLE {instance.owner} IS '{stock_tag}'",
    ):
        await superuser.execute(statement.encode())
    assert await retagged(replica, life)
    assert await rows(superuser, TAG, instance.database) == [
        (replica.tags.instance(instance.key, "k2"),)
    ]
    # So that it can be cleaned up as it was recorded.
    assert await retagged(replica, life, "k1")
