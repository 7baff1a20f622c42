"""The fence: tenants who attack each other, the broker and the server.

Each test logs in as a tenant and tries.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import errors
from psycopg.sql import SQL, Identifier

from broker.domain.database import Access, DatabaseSpec
from tests.integration.postgres.tenants import LIMITS, Session, database_spec, login_spec, rows

if TYPE_CHECKING:
    from psycopg.sql import Composed

    from tests.integration.postgres.servers import OwnServer
    from tests.integration.postgres.tenants import Tenant, Tenants
    from tests.support.postgres import PostgresServer


@pytest.mark.parametrize("access", list(Access))
@pytest.mark.parametrize("database", ["stranger", "postgres", "template1", "pgbroker"])
async def test_other_databases_are_closed(
    tenant: Tenant, stranger: Tenant, access: Access, database: str
) -> None:
    """A login gets into its own database and into no other."""
    login = await tenant.bind(access)
    assert await login.can_connect()
    assert not await login.can_connect(stranger.spec.name if database == "stranger" else database)


def attacks(
    mine: DatabaseSpec, theirs: DatabaseSpec, login: str, theirs_login: str
) -> list[SQL | Composed]:
    """List what a tenant may try, one statement each."""
    own, other = Identifier(mine.name), Identifier(theirs.name)
    owner, other_owner = Identifier(mine.owner), Identifier(theirs.owner)
    me, them = Identifier(login), Identifier(theirs_login)
    return [
        SQL("CREATE DATABASE evil"),
        SQL("CREATE ROLE evil"),
        SQL("CREATE ROLE evil SUPERUSER"),
        SQL("ALTER SYSTEM SET log_statement = 'all'"),
        SQL("DROP DATABASE {}").format(other),
        SQL("DROP DATABASE {}").format(own),
        SQL("ALTER DATABASE {} RENAME TO evil").format(own),
        SQL("ALTER DATABASE {} IS_TEMPLATE true").format(own),
        SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(own),
        SQL("ALTER DATABASE {} OWNER TO {}").format(own, me),
        SQL("ALTER DATABASE {} SET statement_timeout = 0").format(own),
        SQL("ALTER DATABASE {} RESET ALL").format(own),
        SQL("COMMENT ON DATABASE {} IS 'evil'").format(own),
        SQL("COMMENT ON ROLE {} IS 'evil'").format(own),
        SQL("COMMENT ON ROLE {} IS 'evil'").format(owner),
        SQL("ALTER ROLE {} CONNECTION LIMIT -1").format(me),
        SQL("ALTER ROLE {} VALID UNTIL 'infinity'").format(me),
        SQL("ALTER ROLE {} SUPERUSER").format(me),
        SQL("ALTER ROLE {} CREATEDB").format(me),
        SQL("ALTER ROLE {} BYPASSRLS").format(me),
        SQL("ALTER ROLE {} REPLICATION").format(me),
        *(
            SQL(change).format(group)
            for group in (own, owner)
            for change in (
                "ALTER ROLE {} LOGIN",
                "ALTER ROLE {} CONNECTION LIMIT -1",
                "DROP ROLE {}",
            )
        ),
        SQL("ALTER ROLE {} PASSWORD 'evil'").format(them),
        SQL("DROP ROLE {}").format(them),
        SQL("GRANT {} TO {}").format(own, them),
        SQL("GRANT {} TO {}").format(owner, them),
        SQL("GRANT {} TO {}").format(owner, own),
        SQL("GRANT {} TO {}").format(other, me),
        SQL("GRANT {} TO {}").format(other_owner, me),
        SQL("REVOKE {} FROM {}").format(own, owner),
        SQL("GRANT pg_read_all_data TO {}").format(me),
        SQL("GRANT pg_execute_server_program TO {}").format(me),
        SQL("SET ROLE {}").format(other),
        SQL("SET ROLE {}").format(other_owner),
        SQL("SET ROLE {}").format(them),
        SQL("SET ROLE pgbroker"),
        SQL("SET ROLE postgres"),
        SQL("SET SESSION AUTHORIZATION {}").format(other),
        SQL("SELECT * FROM pg_authid"),
        SQL("SELECT * FROM pg_shadow"),
        SQL("SELECT * FROM pg_hba_file_rules"),
        SQL("SELECT pg_read_file('postgresql.conf')"),
        SQL("SELECT pg_ls_dir('.')"),
        SQL("SELECT lo_import('/etc/passwd')"),
        SQL("COPY (SELECT 1) TO PROGRAM 'true'"),
        SQL("COPY (SELECT 1) TO '/var/evil'"),
        SQL("CREATE TABLE t (a text); COPY t FROM '/etc/passwd'"),
        SQL("CREATE FUNCTION evil() RETURNS int LANGUAGE c AS 'libc', 'getpid'"),
        SQL("CREATE FUNCTION evil() RETURNS int LANGUAGE internal AS 'pg_backend_pid'"),
        SQL("CREATE EXTENSION dblink"),
        SQL("CREATE LANGUAGE plpython3u"),
        SQL("LOAD '/var/evil'"),
        SQL("CREATE FUNCTION e() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; ")
        + SQL("CREATE EVENT TRIGGER evil ON ddl_command_end EXECUTE FUNCTION e()"),
        SQL("CREATE TABLESPACE evil LOCATION '/var'"),
        SQL("CREATE SUBSCRIPTION evil CONNECTION 'dbname=x' PUBLICATION p WITH (connect = false)"),
        SQL("SELECT pg_create_logical_replication_slot('evil', 'pgoutput')"),
        SQL("SELECT pg_switch_wal()"),
        SQL("SELECT pg_reload_conf()"),
        SQL("CHECKPOINT"),
        SQL("SET temp_file_limit = -1"),
        SQL("SET session_replication_role = replica"),
        SQL("SET log_statement = 'none'"),
        SQL("ALTER ROLE {} SET temp_file_limit = -1").format(me),
        SQL("REASSIGN OWNED BY pgbroker TO {}").format(me),
        SQL("UPDATE pg_database SET datconnlimit = -1"),
    ]


@pytest.mark.parametrize("access", list(Access))
@pytest.mark.parametrize("as_group", [True, False], ids=["as group role", "as login role"])
async def test_no_attack_succeeds(
    tenant: Tenant, stranger: Tenant, access: Access, as_group: bool
) -> None:
    """None of what a tenant may try is allowed, whichever of its roles it acts as."""
    login, victim = await tenant.bind(access), await stranger.bind()
    succeeded = []
    async with login.session() as session, victim.session():
        await session.execute("SET default_transaction_read_only = off")
        role = Identifier(login.spec.group) if as_group else SQL("NONE")
        await session.execute(SQL("SET ROLE {}").format(role))
        for attack in attacks(tenant.spec, stranger.spec, login.name, victim.name):
            try:
                await session.execute(attack)
            except errors.InsufficientPrivilege:
                continue
            succeeded.append(attack.as_string())
    assert succeeded == []
    assert await victim.can_connect()


async def test_grants_on_the_own_database_have_no_effect(tenant: Tenant, stranger: Tenant) -> None:
    """A tenant owns what is in its database, not the database: it can let nobody in."""
    login, other = await tenant.bind(), await stranger.bind()
    async with login.session() as session:
        for grantee in (SQL("PUBLIC"), Identifier(other.name)):
            await session.execute(
                SQL("GRANT ALL ON DATABASE {} TO {}").format(Identifier(tenant.spec.name), grantee)
            )
    assert not await other.can_connect(tenant.spec.name)


@pytest.mark.parametrize("access", list(Access))
async def test_the_group_roles_cannot_log_in(
    tenant: Tenant, postgres: PostgresServer, access: Access
) -> None:
    """A tenant may give the role it acts as a password, and still nobody logs in as it."""
    login = await tenant.bind(access)
    group = login.spec.group
    async with login.session() as session:
        await session.execute("SET default_transaction_read_only = off")
        await session.execute(SQL("SET ROLE {}").format(Identifier(group)))
        await session.execute("ALTER ROLE CURRENT_USER PASSWORD 'evil'")
    with pytest.raises(psycopg.OperationalError, match="is not permitted to log in"):
        await psycopg.AsyncConnection.connect(postgres.dsn(group, "evil", tenant.spec.name))


async def test_the_owner_role_gains_nothing_from_its_bond_with_readers(
    tenant: Tenant, postgres: PostgresServer
) -> None:
    """From 16 on it can neither act as the read-only role nor use a right given to that one."""
    login = await tenant.bind()
    async with login.session() as session:
        await session.execute("SET ROLE NONE; CREATE TABLE t AS SELECT 1 AS a")
        await session.execute(SQL("GRANT SELECT ON t TO {}").format(Identifier(tenant.spec.name)))
        await session.execute(SQL("SET ROLE {}").format(Identifier(tenant.spec.owner)))
        if postgres.version < 16:  # plain membership is all there is
            assert await rows(session, "SELECT a FROM t") == [(1,)]
            return
        for statement in (
            SQL("SELECT a FROM t"),
            SQL("SET ROLE {}").format(Identifier(tenant.spec.name)),
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                await session.execute(statement)


async def test_a_slipped_access_list_opens_nothing(own_server: OwnServer) -> None:
    """When a superuser grants CONNECT by mistake, pg_hba still keeps tenants apart."""
    mine, theirs = database_spec(), database_spec()
    logins = {spec: [login_spec(spec, access) for access in Access] for spec in (mine, theirs)}
    async with own_server.engine() as engine:
        for spec, bindings in logins.items():
            for step in (engine.ensure_roles, engine.ensure_database, engine.initialise_database):
                await step(spec)
            for login, _ in bindings:
                await engine.ensure_login(login)
    open_databases = (theirs.name, "pgbroker", "postgres", "template1")
    async with await own_server.superuser() as superuser:
        for database in open_databases:
            for grantee in (SQL("PUBLIC"), *(Identifier(login.name) for login, _ in logins[mine])):
                await superuser.execute(
                    SQL("GRANT CONNECT ON DATABASE {} TO {}").format(Identifier(database), grantee)
                )
    for login, password in logins[mine]:
        for database in open_databases:
            elsewhere = replace(login, database=database)
            with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects"):
                await psycopg.AsyncConnection.connect(own_server.login_dsn(elsewhere, password))
    for login, password in (*logins[mine], *logins[theirs]):
        async with await psycopg.AsyncConnection.connect(
            own_server.login_dsn(login, password)
        ) as session:
            assert await rows(session, "SELECT current_database()::text") == [(login.database,)]


async def test_a_login_has_no_way_around_its_own_expiry(tenant: Tenant) -> None:
    """A new password, which a tenant may set, does not outlive the binding."""
    login = await tenant.bind(valid_until=datetime.now(UTC) + timedelta(hours=1))
    async with login.session() as session:
        await session.execute("SET ROLE NONE")
        await session.execute(
            SQL("ALTER ROLE {} PASSWORD 'chosen by the tenant'").format(Identifier(login.name))
        )
        with pytest.raises(errors.InsufficientPrivilege):
            await session.execute(
                SQL("ALTER ROLE {} VALID UNTIL 'infinity'").format(Identifier(login.name))
            )
    await tenant.unbind(login)
    assert not await login.can_connect()


async def test_other_tenants_sessions_are_out_of_reach(
    tenant: Tenant, stranger: Tenant, superuser: Session
) -> None:
    """A tenant can neither end another's session nor read its statements."""
    login, victim = await tenant.bind(), await stranger.bind()
    async with login.session() as session, victim.session() as target:
        await target.execute("SELECT 'a secret'")
        pid = target.info.backend_pid
        for function in (b"pg_terminate_backend", b"pg_cancel_backend"):
            with pytest.raises(errors.InsufficientPrivilege):
                await session.execute(b"SELECT " + function + b"(%s)", [pid])
        assert await rows(session, "SELECT query FROM pg_stat_activity WHERE pid = %s", pid) == [
            ("<insufficient privilege>",)
        ]


async def test_temporary_files_are_limited(tenants: Tenants, postgres: PostgresServer) -> None:
    """From 15 on, the plan's limit holds and no RESET of the tenant's takes it away."""
    tenant = await tenants.provision(limits=replace(LIMITS, temp_file_limit=1024 * 1024))
    login = await tenant.bind()
    async with login.session() as session:
        await session.execute("SET ROLE NONE")
        await session.execute("ALTER ROLE CURRENT_USER RESET ALL")
        await session.execute("SET work_mem = '64kB'")
    async with login.session() as session:
        await session.execute("RESET ALL; SET work_mem = '64kB'")
        spill = "SELECT count(*) FROM (SELECT g FROM generate_series(1, 400000) g ORDER BY -g) s"
        if postgres.version > 14:
            with pytest.raises(errors.ConfigurationLimitExceeded):
                await session.execute(spill)
        else:  # only a superuser can set it there, which the broker is not
            assert await rows(session, spill) == [(400000,)]


async def test_the_broker_runs_no_tenant_code(tenant: Tenant, superuser: Session) -> None:
    """Functions, operators and casts planted in public and pg_temp never see the broker."""
    login = await tenant.bind()
    async with login.session() as session:
        await session.execute("CREATE TABLE caught (who text, how text)")
        for name, arguments, result in (
            ("lower", "varchar", "text"),
            ("count", "text", "bigint"),
            ("pg_has_role", "name, text", "boolean"),
            ("pg_has_role", "oid, text", "boolean"),
            ("has_table_privilege", "name, oid, text", "boolean"),
            ("has_schema_privilege", "name, oid, text", "boolean"),
            ("current_database", "", "name"),
            ("pg_advisory_lock", "bigint", "void"),
            ("shobj_description", "oid, name", "text"),
            ("trap_any", "name, text", "boolean"),
            ("trap_any", "name, name", "boolean"),
        ):
            await session.execute(
                SQL(
                    "CREATE FUNCTION public.{}({}) RETURNS {} LANGUAGE plpgsql AS "
                    "$$BEGIN INSERT INTO public.caught VALUES (session_user, {}); "
                    "RETURN NULL; END$$"
                ).format(Identifier(name), SQL(arguments), SQL(result), f"{name}({arguments})")
                if result != "void"
                else SQL(
                    "CREATE FUNCTION public.{}({}) RETURNS void LANGUAGE plpgsql AS "
                    "$$BEGIN INSERT INTO public.caught VALUES (session_user, {}); END$$"
                ).format(Identifier(name), SQL(arguments), f"{name}({arguments})")
            )
        for operator, right in (("~~", "text"), ("=", "text"), ("<>", "text"), ("!~~", "text")):
            await session.execute(
                SQL(
                    "CREATE OPERATOR public.{} (function = public.trap_any, leftarg = name, "
                    "rightarg = {})"
                ).format(SQL(operator), SQL(right))
            )
        await session.execute("CREATE TABLE public.pg_class (a int)")
        await session.execute("CREATE VIEW public.pg_roles AS SELECT 1 AS oid")
        await session.execute("SET ROLE NONE; CREATE TABLE owned_by_login (a int)")
    await tenant.bind(Access.READ)
    await tenant.update(add=["citext"])
    await tenant.update(drop=["citext"])
    await tenant.unbind(login)
    other = await tenant.bind()
    assert await other.query("SELECT * FROM caught WHERE who = 'pgbroker'") == []
    # The trap does spring for whoever does not pin the search path.
    assert await other.query("SELECT public.lower('x'::varchar)") == [(None,)]
    assert len(await other.query("SELECT * FROM caught")) == 1


async def test_the_brokers_settings_win_over_the_databases(
    tenant: Tenant, superuser: Session
) -> None:
    """A database that is set to be read-only and slow does not keep the broker from working."""
    login = await tenant.bind()
    async with login.session() as session:
        await session.execute("SET ROLE NONE; CREATE TABLE t ()")
    for setting in (
        "default_transaction_read_only = on",
        "search_path = public",
        "statement_timeout = 1",
        "lock_timeout = 1",
    ):
        await superuser.execute(
            SQL("ALTER DATABASE {} SET {}").format(Identifier(tenant.spec.name), SQL(setting))
        )
    await tenant.unbind(login)
    await tenant.bind(Access.READ)


async def test_strangers_objects_are_out_of_reach_without_a_database(
    tenant: Tenant, superuser: Session
) -> None:
    """PUBLIC may neither connect to a tenant's database nor use its schema public."""
    assert await rows(
        superuser,
        "SELECT has_database_privilege('public', %s, 'CONNECT'), "
        "has_database_privilege('public', %s, 'TEMPORARY')",
        tenant.spec.name,
        tenant.spec.name,
    ) == [(False, False)]
    login = await tenant.bind()
    assert await login.query(
        "SELECT has_schema_privilege('public', 'public', 'USAGE'), "
        "has_schema_privilege('public', 'public', 'CREATE')"
    ) == [(False, False)]
