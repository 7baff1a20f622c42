"""Credentials with an end: what the broker does about them by itself."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg

from broker.bootstrap.assembly import wire
from broker.operations.expiry import ExpiryUpkeep
from tests.support.catalog import BRIEF, EXPIRING
from tests.support.platform import can_connect, new_id, rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.application import Application, Footprint
    from tests.support.platform import Platform

_PATIENCE = 20


async def upkeep(application: Application, keep: timedelta) -> None:
    """Do the periodic work now, as a replica of the broker."""
    wiring = wire(application.settings)
    async with wiring.opened():
        expiry = ExpiryUpkeep(wiring.broker, wiring.store.expired, keep)
        await expiry.end_sessions()
        await expiry.unbind()


async def test_an_expired_binding_is_removed_after_some_time(
    application: Application, kubernetes: Platform, kept: Callable[[], Footprint]
) -> None:
    """Once its time has passed the login is dropped and the row removed, by an unbind."""
    instance, binding, credentials = kubernetes.bound(BRIEF)
    _, valid, valid_credentials = kubernetes.bound(EXPIRING)
    async with asyncio.timeout(_PATIENCE):
        while await asyncio.to_thread(can_connect, credentials):
            pass  # each attempt takes as long as a connection
    await upkeep(application, timedelta(hours=1))
    assert kubernetes.fetch(instance, binding).status_code == 200
    assert credentials["username"] in kept().roles
    await upkeep(application, timedelta(0))
    assert kubernetes.fetch(instance, binding).status_code == 404
    assert credentials["username"] not in kept().roles
    assert kubernetes.poll(instance, binding).status_code == 410
    assert kubernetes.unbind(instance, binding, BRIEF).status_code == 410
    assert valid_credentials["username"] in kept().roles
    assert can_connect(valid_credentials), valid
    assert kubernetes.deprovision(instance, BRIEF).status_code == 200


async def test_a_platform_may_delete_an_expired_binding_itself(
    application: Application, kubernetes: Platform
) -> None:
    """Between its end and the broker's own unbind, an unbind succeeds as any other."""
    instance, binding, _ = kubernetes.bound(BRIEF)
    await upkeep(application, timedelta(hours=1))
    assert kubernetes.unbind(instance, binding, BRIEF).status_code == 200
    await upkeep(application, timedelta(0))
    assert kubernetes.unbind(instance, binding, BRIEF).status_code == 410


async def test_a_binding_that_failed_is_not_made_again_when_its_time_is_over(
    application: Application, kubernetes: Platform
) -> None:
    """A password that PostgreSQL does not accept any more is handed out to nobody."""
    instance, binding, credentials = kubernetes.bound(BRIEF)
    async with asyncio.timeout(_PATIENCE):
        while await asyncio.to_thread(can_connect, credentials):
            pass  # each attempt takes as long as a connection
    async with await psycopg.AsyncConnection.connect(
        application.settings.state_dsn.reveal(), autocommit=True
    ) as state:
        await state.execute(
            "UPDATE pgbroker.bindings SET status = 'failed' WHERE binding_id = %s", [binding]
        )
    again = kubernetes.bind(instance, binding, BRIEF)
    assert again.status_code == 422
    assert "expired" in again.json()["description"]
    assert kubernetes.unbind(instance, binding, BRIEF).status_code == 200
    assert kubernetes.deprovision(instance, BRIEF).status_code == 200


async def test_sessions_of_an_expired_login_are_ended(
    application: Application, kubernetes: Platform
) -> None:
    """A session that is open when the credentials end does not outlive them for long."""
    _, _, credentials = kubernetes.bound(BRIEF)
    _, _, others = kubernetes.bound(EXPIRING)
    server = application.settings.servers[0].admin_dsn.reveal()
    login = psycopg.sql.Identifier(credentials["username"])
    change = psycopg.sql.SQL("ALTER ROLE {} VALID UNTIL {}")
    with psycopg.connect(server, autocommit=True) as broker:
        broker.execute(change.format(login, "2099-01-01"))
        with (
            psycopg.connect(credentials["uri"], autocommit=True) as session,
            psycopg.connect(others["uri"], autocommit=True) as other,
        ):
            broker.execute(change.format(login, "2000-01-01"))
            assert session.execute("SELECT 1").fetchone() == (1,)
            async with asyncio.timeout(_PATIENCE):
                while not session.closed:
                    # By then its end has been recorded for a second at least.
                    await upkeep(application, timedelta(hours=1))
                    _ask(session)
            assert other.execute("SELECT 1").fetchone() == (1,)


def _ask(session: psycopg.Connection) -> None:
    try:
        session.execute("SELECT 1")
    except psycopg.OperationalError:
        session.close()


def test_both_logins_of_a_rotation_work_side_by_side(kubernetes: Platform) -> None:
    """Predecessor and successor act as the same owner, so that nothing changes hands."""
    instance, binding, old = kubernetes.bound(EXPIRING)
    rows(old, "CREATE TABLE t (a int)")
    successor = new_id()
    response = kubernetes.bind(instance, successor, plan=None, predecessor_binding_id=binding)
    new = response.json()["credentials"]
    assert new["username"] != old["username"]
    rows(new, "INSERT INTO t VALUES (1); ALTER TABLE t ADD b int; CREATE TABLE u ()")
    rows(old, "DROP TABLE u; INSERT INTO t VALUES (2, 2)")
    owner = "SELECT tableowner FROM pg_tables WHERE tablename = 't'"
    before = rows(old, owner)
    assert kubernetes.unbind(instance, binding, EXPIRING).status_code == 200
    assert not can_connect(old)
    assert rows(new, owner) == before
    rows(new, "DROP TABLE t")
