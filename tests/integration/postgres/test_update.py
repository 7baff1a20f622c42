"""Update on the server: one transaction, all or nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from psycopg import AsyncConnection
from psycopg.sql import SQL, Identifier

from broker.domain.database import DatabaseChange, Limits
from broker.domain.errors import TemporaryFailure, UpdateRefused
from broker.postgres.statements import comment_on_role
from tests.integration.postgres.tenants import LIMITS, is_alive, rows

if TYPE_CHECKING:
    from tests.integration.postgres.tenants import Session, Tenant, Tenants
    from tests.support.postgres import PostgresServer

BIGGER = Limits(connections=40, connections_per_binding=30, statement_timeout=timedelta(seconds=77))


async def limits(superuser: Session, tenant: Tenant) -> list[tuple[object, ...]]:
    """Read what the catalogs say of a tenant's limits."""
    return await rows(
        superuser,
        "SELECT datconnlimit, (SELECT rolconnlimit FROM pg_roles WHERE rolname = %s), "
        "(SELECT rolconnlimit FROM pg_roles WHERE rolname = %s), "
        "(SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = d.oid AND setrole = 0) "
        "FROM pg_database d WHERE datname = %s",
        tenant.logins[0].name,
        tenant.spec.owner,
        tenant.spec.name,
    )


async def test_limits_follow_the_plan(tenant: Tenant, superuser: Session) -> None:
    """Database and logins get the new plan's limits, and a later plan can take them back."""
    await tenant.bind()
    await tenant.update(limits=BIGGER)
    assert await limits(superuser, tenant) == [(40, 30, 40, ["statement_timeout=77000"])]
    await tenant.update(limits=LIMITS)
    assert await limits(superuser, tenant) == [(20, 10, 20, None)]


async def test_extensions_come_and_go(tenant: Tenant) -> None:
    """Extensions can be added and dropped, again and again."""
    login = await tenant.bind()
    for _ in range(2):
        await tenant.update(add=["hstore", "pg_trgm"])
        assert await login.query("SELECT 'a=>1'::hstore -> 'a'") == [("1",)]
        await tenant.update(drop=["hstore"])
    assert await login.query(
        "SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql'"
    ) == [("pg_trgm",)]


async def test_an_extension_in_use_is_not_dropped(tenants: Tenants, superuser: Session) -> None:
    """The refusal names the extension, and limits and other extensions are as before."""
    tenant = await tenants.provision(extensions=["hstore"])
    login = await tenant.bind()
    await login.query("CREATE TABLE t (a hstore)")
    before = await limits(superuser, tenant)

    with pytest.raises(UpdateRefused, match=r"'hstore' is in use") as refusal:
        await tenant.update(limits=BIGGER, add=["pg_trgm"], drop=["hstore"])

    assert refusal.value.instance_usable
    assert await limits(superuser, tenant) == before
    assert await login.query(
        "SELECT extname::text FROM pg_extension WHERE extname <> 'plpgsql'"
    ) == [("hstore",)]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_such_extension", r"does not have the extension 'no_such_extension'"),
        ("dblink", r"'dblink' can only be installed by a superuser"),
    ],
)
async def test_extensions_that_cannot_be_had(
    tenant: Tenant, superuser: Session, name: str, reason: str
) -> None:
    """The refusal says why, and nothing has changed."""
    await tenant.bind()
    before = await limits(superuser, tenant)
    with pytest.raises(UpdateRefused, match=reason):
        await tenant.update(limits=BIGGER, add=["hstore", name])
    assert await limits(superuser, tenant) == before


async def test_an_extension_whose_names_are_taken(tenant: Tenant) -> None:
    """A tenant's own object in the way is the reason given."""
    login = await tenant.bind()
    await login.query("CREATE TYPE hstore AS (a int)")
    with pytest.raises(UpdateRefused, match="Rename that first"):
        await tenant.update(add=["hstore"])


async def test_an_extension_without_its_schema(tenant: Tenant) -> None:
    """A tenant that renamed schema public is told what is missing."""
    login = await tenant.bind()
    await login.query("ALTER SCHEMA public RENAME TO private")
    with pytest.raises(UpdateRefused, match="schema it goes into does not exist"):
        await tenant.update(add=["hstore"])


async def test_what_the_tenant_installed_itself_is_left_alone(tenant: Tenant) -> None:
    """Adding an extension that is there already succeeds and changes nothing."""
    login = await tenant.bind()
    await login.query("CREATE SCHEMA x")
    await login.query("CREATE EXTENSION hstore SCHEMA x")
    await tenant.update(add=["hstore"])
    assert await login.query(
        "SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'hstore'"
    ) == [("x",)]


async def test_an_extension_a_login_owns_is_its_own_to_drop(tenant: Tenant) -> None:
    """An extension installed outside the owner role is not the broker's to remove."""
    login = await tenant.bind()
    async with login.session() as session:
        await session.execute("SET ROLE NONE; CREATE EXTENSION hstore")
    with pytest.raises(UpdateRefused, match="installed by one of the instance's own users"):
        await tenant.update(drop=["hstore"])


async def test_updating_a_full_database(tenants: Tenants, superuser: Session) -> None:
    """A tenant that uses all its connections can still be given more."""
    small = replace(LIMITS, connections=1, connections_per_binding=1)
    tenant = await tenants.provision(limits=small)
    login = await tenant.bind()
    async with login.session():
        await tenant.update(limits=BIGGER)
    assert (await limits(superuser, tenant))[0][:2] == (40, 30)


async def test_what_an_earlier_attempt_has_done_is_found_out(
    tenant: Tenant, postgres: PostgresServer
) -> None:
    """A change is there or not, and whoever was at it is gone; an operator's session stays."""
    changed = replace(tenant.spec, record="what the instance has become")
    dsn = postgres.broker_dsn(tenant.spec.name)
    async with (
        await AsyncConnection.connect(dsn, application_name="pgbroker") as earlier,
        await AsyncConnection.connect(dsn, application_name="psql") as operators,
    ):
        await earlier.execute(comment_on_role(changed.owner, changed.owner_comment))
        assert not await tenant.engine.is_changed(changed)
        assert not await is_alive(earlier)
        assert await is_alive(operators)
    await tenant.engine.change_database(DatabaseChange(changed, (), (), ()))
    assert await tenant.engine.is_changed(changed)
    assert not await tenant.engine.is_changed(replace(changed, record="something else"))


async def test_a_database_that_is_closed_is_not_usable(tenant: Tenant, superuser: Session) -> None:
    """An update of it fails for now, and says that nobody can connect either."""
    closing = SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false")
    await superuser.execute(closing.format(Identifier(tenant.spec.name)))
    with pytest.raises(TemporaryFailure, match="does not accept connections") as refusal:
        await tenant.update(add=["hstore"])
    assert refusal.value.instance_usable is False
