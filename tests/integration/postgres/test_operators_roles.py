"""Roles that the operator made: tenants may name them, the broker keeps its hands off them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.sql import SQL, Identifier

from broker.domain.database import Access
from tests.integration.postgres.tenants import rows

if TYPE_CHECKING:
    from tests.integration.postgres.tenants import Login, Session, Tenant
    from tests.support.postgres import PostgresServer


async def share(login: Login, *roles: str) -> None:
    """Make a table, and let others read it, with the right to pass that on."""
    async with login.session() as session:
        await session.execute("CREATE TABLE shared AS SELECT 1 AS a")
        for role in roles:
            await session.execute(
                SQL(
                    "GRANT USAGE ON SCHEMA public TO {0};"
                    "GRANT SELECT ON shared TO {0} WITH GRANT OPTION;"
                    "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {0}"
                ).format(Identifier(role))
            )


async def may_read(login: Login, role: str) -> bool:
    """Tell whether a role may read the shared table."""
    found = await login.query("SELECT has_table_privilege(%s::name, 'shared', 'SELECT')", role)
    return found == [(True,)]


async def members(superuser: Session, role: str) -> list[object]:
    """List who is a member of a role."""
    look = "SELECT member::regrole::text FROM pg_auth_members WHERE roleid = %s::text::regrole"
    return [member for (member,) in await rows(superuser, look, role)]


async def left(superuser: Session, *names: str) -> list[object]:
    """List which roles exist."""
    look = "SELECT rolname::text FROM pg_roles WHERE rolname = ANY (%s)"
    return [name for (name,) in await rows(superuser, look, list(names))]


async def test_a_grant_to_it_stops_no_step_in_that_database(
    operators_role: str, tenant: Tenant, superuser: Session
) -> None:
    """A tenant that grants to an operator's role can bind, unbind and be deprovisioned."""
    login, other = await tenant.bind(), await tenant.bind()
    await share(login, operators_role, other.name)
    reader = await tenant.bind(Access.READ)
    assert await reader.query("SELECT a FROM shared") == [(1,)]
    await tenant.unbind(other)
    await tenant.unbind(reader)
    assert await may_read(login, operators_role)
    assert await members(superuser, operators_role) == []
    await tenant.deprovision()
    names = (tenant.spec.name, tenant.spec.owner, *(each.name for each in tenant.logins))
    assert await left(superuser, *names) == []
    assert await left(superuser, operators_role) == [operators_role]
    assert await members(superuser, operators_role) == []


async def test_a_strangers_grant_to_it_stops_nobody_elses_steps(
    operators_role: str, tenant: Tenant, stranger: Tenant, superuser: Session
) -> None:
    """Who was granted something along with an operator's role is unbound and deprovisioned."""
    first, second, host = await tenant.bind(), await tenant.bind(), await stranger.bind()
    roles = (tenant.spec.name, tenant.spec.owner, first.name, second.name)
    await share(host, operators_role, *roles)
    await tenant.unbind(first)
    assert await left(superuser, first.name) == []
    await tenant.deprovision()
    assert await left(superuser, *roles) == []
    assert await may_read(host, operators_role)
    assert await members(superuser, operators_role) == []


async def test_what_it_owns_in_a_tenants_database_stays_its_own(
    operators_role: str, tenant: Tenant, superuser: Session, postgres: PostgresServer
) -> None:
    """An operator's table in the database stops no bind and no unbind, and keeps its owner."""
    login, other = await tenant.bind(), await tenant.bind()
    await share(login, other.name)
    async with postgres.superuser(tenant.spec.name) as inside:
        await inside.execute(
            SQL("CREATE TABLE measured (); ALTER TABLE measured OWNER TO {}").format(
                Identifier(operators_role)
            )
        )
    reader = await tenant.bind(Access.READ)
    await tenant.unbind(reader)
    await tenant.unbind(other)
    assert await left(superuser, reader.name, other.name) == []
    assert await login.query(
        "SELECT tableowner::text FROM pg_tables WHERE tablename = 'measured'"
    ) == [(operators_role,)]
    assert await members(superuser, operators_role) == []
