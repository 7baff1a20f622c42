"""Tenants in the way: locks, open transactions, and a storm of new connections."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from broker.domain.operation import OperationKind
from tests.acceptance.faults.requests import Request
from tests.support.catalog import BIG
from tests.support.faults_platform import CREATED, DELETED
from tests.support.platform import new_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import LiteralString

    from tests.support.faults_fleet import Fleet
    from tests.support.faults_platform import PatientPlatform

BOUND = 20
"""Seconds in which every operation must be over, whatever tenants do."""

LEND = """
    SET ROLE NONE;
    CREATE TABLE lent (a int);
    GRANT ALL ON lent TO PUBLIC
"""
"""Own something that another login of the same database may lock."""

OBSTRUCT = """
    CREATE TABLE IF NOT EXISTS lent (a int);
    CREATE TABLE IF NOT EXISTS shared (a int);
    SET ROLE NONE;
    CREATE TABLE IF NOT EXISTS own (a int);
    PREPARE p AS SELECT * FROM shared FOR UPDATE;
    BEGIN;
    LOCK TABLE lent, shared, own IN ACCESS EXCLUSIVE MODE;
    DECLARE c CURSOR WITH HOLD FOR SELECT * FROM shared;
    FETCH 1 FROM c;
    EXECUTE p
"""
"""Lock what is another login's, the owner role's and its own, in a transaction left open."""

STORM = 6


async def test_a_tenant_that_keeps_locks(fleet: Fleet) -> None:
    """Unbind and deprovision end the sessions in their way; bind and update need no such lock."""
    async with fleet.platform() as platform:
        instance, tenant, other = await a_bound_instance(platform)
        await run(fleet.ledger.bindings[instance, other], LEND)
        async with obstructing(fleet.ledger.bindings[instance, tenant]) as session:
            update = await bounded(platform.update(instance, BIG, {"extensions": ["hstore"]}))
            assert update.status_code in CREATED
            assert (await bounded(platform.bind(instance, new_id()))).status_code in CREATED
            await session.execute("SELECT")
            assert (await bounded(platform.unbind(instance, other))).status_code in DELETED
            with pytest.raises(psycopg.OperationalError):
                await session.execute("SELECT")
        async with obstructing(fleet.ledger.bindings[instance, tenant]):
            assert (await bounded(platform.unbind(instance, tenant))).status_code in DELETED
        last = new_id()
        await platform.bind(instance, last)
        async with obstructing(fleet.ledger.bindings[instance, last]):
            assert (await bounded(platform.deprovision(instance))).status_code in DELETED
    await fleet.agrees()


async def test_clients_that_connect_again_and_again(fleet: Fleet) -> None:
    """However many clients knock, each operation is over in time."""
    async with fleet.platform() as platform:
        instance, tenant, other = await a_bound_instance(platform)
        async with (
            storm(fleet.ledger.bindings[instance, tenant]),
            storm(fleet.ledger.bindings[instance, other]),
        ):
            assert (await bounded(platform.bind(instance, new_id()))).status_code in CREATED
            assert (await bounded(platform.update(instance, BIG))).status_code in CREATED
            assert (await bounded(platform.unbind(instance, tenant))).status_code in DELETED
            assert (await bounded(platform.deprovision(instance))).status_code in DELETED
    await fleet.agrees()


async def bounded(request: Any) -> Any:
    """Wait for an answer, no longer than any tenant may delay it."""
    async with asyncio.timeout(BOUND):
        return await request


async def a_bound_instance(platform: PatientPlatform) -> tuple[str, str, str]:
    """Return the ids of an instance and of two bindings of it."""
    request = await Request.prepared(platform, OperationKind.UNBIND)
    (other,) = {
        binding for instance, binding in platform.ledger.bindings if instance == request.instance
    } - {request.binding}
    assert request.binding is not None
    return request.instance, request.binding, other


async def run(credentials: dict[str, Any], statements: LiteralString) -> None:
    """Run statements as a tenant."""
    async with await psycopg.AsyncConnection.connect(credentials["uri"]) as session:
        await session.execute(statements)


@asynccontextmanager
async def obstructing(
    credentials: dict[str, Any],
) -> AsyncIterator[psycopg.AsyncConnection]:
    """Keep a session of a tenant in the way; it is the broker's business to end it."""
    session = await psycopg.AsyncConnection.connect(credentials["uri"], autocommit=True)
    try:
        await session.execute(OBSTRUCT)
        yield session
    finally:
        await session.close()


@asynccontextmanager
async def storm(credentials: dict[str, Any]) -> AsyncIterator[None]:
    """Let clients connect as fast as they can, and again when they are thrown out."""
    begun, over = asyncio.Event(), asyncio.Event()

    async def knock() -> None:
        while not over.is_set():
            try:
                async with await psycopg.AsyncConnection.connect(credentials["uri"]) as session:
                    await session.execute("SELECT count(*) FROM pg_class")
                    begun.set()
            except psycopg.Error:
                continue

    async with asyncio.TaskGroup() as clients:
        for _ in range(STORM):
            clients.create_task(knock())
        try:
            await begun.wait()
            yield
        finally:
            over.set()
