"""Provision on the server: roles, database, fence."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from psycopg.sql import SQL, Identifier

from broker.domain.database import Access, DatabaseOptions, Limits
from broker.domain.errors import PermanentFailure, Unprocessable
from tests.integration.postgres.tenants import LIMITS, database_spec, rows

if TYPE_CHECKING:
    from tests.integration.postgres.stepwise import StepwiseEngine
    from tests.integration.postgres.tenants import Session, Tenant, Tenants
    from tests.support.postgres import PostgresServer


async def test_provisioning_again_changes_nothing(tenant: Tenant, superuser: Session) -> None:
    """Every step may be repeated: the catalogs are the same afterwards."""
    look = (
        "SELECT oid, datdba, datallowconn, datconnlimit, datacl::text FROM pg_database "
        "WHERE datname = %s"
    )
    before = await rows(superuser, look, tenant.spec.name)

    await tenant.engine.ensure_roles(tenant.spec)
    await tenant.engine.ensure_database(tenant.spec)
    await tenant.engine.initialise_database(tenant.spec)

    assert await rows(superuser, look, tenant.spec.name) == before


@pytest.mark.parametrize("role", ["name", "owner"])
async def test_a_missing_group_role_is_made_again(
    engine: StepwiseEngine, tenants: Tenants, superuser: Session, role: str
) -> None:
    """Whichever of the two roles is missing, the next attempt completes them and their bond."""
    tenant = await tenants.provision()
    await engine.drop_database(tenant.spec, [])
    await engine.ensure_roles(tenant.spec)
    await superuser.execute(SQL("DROP ROLE {}").format(Identifier(getattr(tenant.spec, role))))
    for step in (engine.ensure_roles, engine.ensure_database, engine.initialise_database):
        await step(tenant.spec)
    for access in Access:
        assert await (await tenant.bind(access)).can_connect()


async def test_nobody_can_connect_before_the_fence_is_up(
    engine: StepwiseEngine, stranger: Tenant, superuser: Session
) -> None:
    """Between creation and initialisation, a database lets nobody in."""
    spec = database_spec()
    login = await stranger.bind()
    try:
        await engine.ensure_roles(spec)
        await engine.ensure_database(spec)
        assert not await login.can_connect(spec.name)
        assert await rows(
            superuser,
            "SELECT datallowconn, datconnlimit FROM pg_database WHERE datname = %s",
            spec.name,
        ) == [(False, 0)]
    finally:
        await engine.drop_database(spec, [])


async def test_database_and_roles_carry_the_tag(tenant: Tenant, superuser: Session) -> None:
    """The comment says whose a database and its group roles are."""
    assert (
        await rows(
            superuser,
            """
        SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %(name)s
        UNION ALL
        SELECT shobj_description(oid, 'pg_authid') FROM pg_roles
        WHERE rolname IN (%(name)s, %(owner)s)
        """.replace("%(name)s", f"'{tenant.spec.name}'")
            .replace("%(owner)s", f"'{tenant.spec.owner}'")
            .encode(),
        )
        == [(tenant.spec.tag,)] * 3
    )


async def test_limits_become_settings_of_the_database(tenants: Tenants) -> None:
    """A session starts with the plan's timeouts and its limit on temporary files."""
    tenant = await tenants.provision(
        limits=replace(
            LIMITS,
            statement_timeout=timedelta(seconds=90),
            idle_in_transaction_session_timeout=timedelta(minutes=5),
        )
    )
    login = await tenant.bind()
    assert await login.query(
        "SELECT current_setting('statement_timeout'), "
        "current_setting('idle_in_transaction_session_timeout')"
    ) == [("90s", "5min")]


async def test_connection_limit_binds_all_logins_together(tenants: Tenants) -> None:
    """The plan's connections are those of the database, not of each binding."""
    tenant = await tenants.provision(limits=Limits(connections=2, connections_per_binding=2))
    one, other = await tenant.bind(), await tenant.bind()
    async with one.session(), other.session():
        assert not await one.can_connect()
        assert not await other.can_connect()


async def test_a_database_of_somebody_else_is_not_adopted(
    engine: StepwiseEngine, superuser: Session
) -> None:
    """A database that the broker does not own is refused by name and left as it is."""
    spec = database_spec()
    await superuser.execute(SQL("CREATE DATABASE {}").format(Identifier(spec.name)))
    try:
        for step in (engine.ensure_database, engine.initialise_database):
            with pytest.raises(PermanentFailure, match=spec.name):
                await step(spec)
        with pytest.raises(PermanentFailure, match=spec.name):
            await engine.drop_database(spec, [])
    finally:
        await superuser.execute(SQL("DROP DATABASE {}").format(Identifier(spec.name)))


async def test_a_database_of_another_instance_is_not_adopted(
    tenant: Tenant, engine: StepwiseEngine
) -> None:
    """A database whose comment is another instance's is refused by name."""
    impostor = replace(tenant.spec, tag="another instance")
    for step in (engine.ensure_roles, engine.ensure_database, engine.initialise_database):
        with pytest.raises(PermanentFailure, match=tenant.spec.name):
            await step(impostor)
    with pytest.raises(PermanentFailure, match=tenant.spec.name):
        await engine.drop_database(impostor, [])


async def test_encoding_and_locale_are_honoured(tenants: Tenants, superuser: Session) -> None:
    """What initdb's options say is what the database has."""
    tenant = await tenants.provision(
        options=DatabaseOptions(encoding="LATIN1", locale="C", locale_provider="libc")
    )
    assert await rows(
        superuser,
        "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database "
        "WHERE datname = %s",
        tenant.spec.name,
    ) == [("LATIN1", "C", "C")]
    login = await tenant.bind()
    await login.query("CREATE TABLE t AS SELECT 'ä' AS a")
    assert await login.query("SELECT a, octet_length(a) FROM t") == [("ä", 1)]


async def test_a_locale_with_another_collation_is_honoured(
    tenants: Tenants, superuser: Session
) -> None:
    """LOCALE gives what LC_COLLATE and LC_CTYPE do not, on every version."""
    tenant = await tenants.provision(options=DatabaseOptions(locale="C.UTF-8", lc_collate="C"))
    assert await rows(
        superuser,
        "SELECT datcollate, datctype FROM pg_database WHERE datname = %s",
        tenant.spec.name,
    ) == [("C", "C.UTF-8")]


@pytest.mark.parametrize(
    ("options", "since"),
    [
        (DatabaseOptions(locale_provider="icu", icu_locale="de-DE"), 15),
        (DatabaseOptions(locale_provider="icu", icu_locale="de-DE", icu_rules="&a<g"), 16),
        (DatabaseOptions(locale_provider="builtin", builtin_locale="C.UTF-8"), 17),
    ],
)
async def test_locale_providers_by_version(
    tenants: Tenants,
    postgres: PostgresServer,
    superuser: Session,
    options: DatabaseOptions,
    since: int,
) -> None:
    """A provider works where the server has it, and is refused with the reason elsewhere."""
    has_icu = await rows(superuser, "SELECT FROM pg_collation WHERE collname LIKE 'de%-x-icu'")
    if postgres.version >= since and options.locale_provider == "icu" and not has_icu:
        with pytest.raises(Unprocessable, match="LOCALE_PROVIDER = icu"):
            await tenants.provision(options=options)
    elif postgres.version >= since:
        tenant = await tenants.provision(options=options)
        assert await (await tenant.bind()).query("SELECT lower('A')") == [("a",)]
    else:
        with pytest.raises(Unprocessable, match=r"needs PostgreSQL 1[5-7] or newer"):
            await tenants.provision(options=options)


@pytest.mark.parametrize(
    "options",
    [
        DatabaseOptions(encoding="KLINGON"),
        DatabaseOptions(locale="tlh_KX.UTF-8"),
        DatabaseOptions(encoding="LATIN1", locale="C.UTF-8"),
    ],
    ids=["encoding", "locale", "mismatch"],
)
async def test_unknown_encodings_and_locales_are_refused(
    tenants: Tenants, options: DatabaseOptions
) -> None:
    """What the server does not know is the user's mistake, and the message repeats it."""
    with pytest.raises(Unprocessable, match=str(options.encoding or options.locale)):
        await tenants.provision(options=options)


async def test_data_checksums_are_satisfied_by_a_server_that_has_them(tenants: Tenants) -> None:
    """--data-checksums is no wish of the database but a property of the server."""
    tenant = await tenants.provision(options=DatabaseOptions(data_checksums=True))
    login = await tenant.bind()
    assert await login.query("SELECT current_setting('data_checksums')") == [("on",)]


async def test_extensions_are_installed(tenants: Tenants) -> None:
    """A plan's extension is there for every login, in schema public."""
    tenant = await tenants.provision(extensions=["pgcrypto"])
    login = await tenant.bind()
    assert await login.query("SELECT length(gen_random_bytes(7))") == [(7,)]


@pytest.mark.parametrize("name", ["no_such_extension", "adminpack", "dblink"])
async def test_extensions_the_broker_cannot_install_are_refused(
    tenants: Tenants, name: str
) -> None:
    """An extension that is not there, or needs a superuser, is refused by name."""
    with pytest.raises(Unprocessable, match=name):
        await tenants.provision(extensions=[name])
