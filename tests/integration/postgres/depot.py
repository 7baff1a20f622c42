"""A warm stock on the run's server, and what tests ask about it."""

from __future__ import annotations

import json
import secrets
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from broker.domain.catalog import Catalog, Offering
from broker.domain.database import Endpoint, Limits
from broker.domain.instance import InstanceKey, Status
from broker.domain.names import owner_name
from broker.domain.operation import OperationKind, UpdateTarget, Work
from broker.domain.placement import Capacity
from broker.domain.warm import WarmState, fingerprint
from broker.operations.steps import steps_of
from broker.operations.warm import WarmStock
from broker.postgres.engine import PostgresEngine
from broker.providers.shared import SharedServer, SharedServers
from broker.store import EncryptedTags, KeyRing, PostgresStore
from tests.integration.postgres.stepwise import confirmed
from tests.integration.postgres.tenants import rows
from tests.unit.domain import examples

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import LiteralString

    from broker.domain.catalog import Plan
    from broker.domain.instance import Binding, Instance
    from broker.domain.warm import Location
    from broker.service.ports import DatabaseSession
    from tests.integration.postgres.tenants import Session
    from tests.support.postgres import PostgresServer

LONG_AGO = "UPDATE pgbroker.warm_databases SET created_at = created_at - interval '1 hour'"

LIMITS = Limits(connections=7, connections_per_binding=3, temp_file_limit=1024 * 1024)

PLAN = replace(examples.PLAN, limits=LIMITS, warm=2)

SHAPE = """
SELECT pg_catalog.json_build_object(
    'database', (
        SELECT json_build_array(datacl, datallowconn, datconnlimit, encoding, datcollate, datctype,
            datistemplate, pg_get_userbyid(datdba))
        FROM pg_database WHERE datname = current_database()
    ),
    'settings', (
        SELECT setconfig FROM pg_db_role_setting AS s JOIN pg_database AS d ON d.oid = s.setdatabase
        WHERE d.datname = current_database()
    ),
    'roles', (
        SELECT json_agg(json_build_array(r.rolname, r.rolcanlogin, r.rolinherit, r.rolconnlimit,
            ARRAY(
                SELECT pg_get_userbyid(roleid)::text FROM pg_auth_members AS m
                WHERE m.member = r.oid ORDER BY 1
            )) ORDER BY r.rolname)
        FROM pg_roles AS r
        WHERE r.rolname IN (current_database(), current_database() || '_owner')
    ),
    'schema', (
        SELECT json_build_array(nspacl, pg_get_userbyid(nspowner))
        FROM pg_namespace WHERE nspname = 'public'
    ),
    'defaults', (
        SELECT json_agg(json_build_array(defaclobjtype, defaclacl) ORDER BY defaclobjtype)
        FROM pg_default_acl
    ),
    'extensions', (SELECT json_agg(extname ORDER BY extname) FROM pg_extension)
)::text
"""
"""Everything about a database and its group roles but their names and comments."""


@dataclass(frozen=True)
class Depot:
    """A stock, and what it is kept with."""

    store: PostgresStore
    engine: PostgresEngine
    tags: EncryptedTags
    stock: WarmStock
    superuser: Session
    state_dsn: str

    def another(self, *plans: Plan, capacity: int | None = None, engine: Any = None) -> WarmStock:
        """Return the stock as a replica with another catalog, capacity or engine keeps it."""
        return a_stock(self.store, self.tags, engine or self.engine, plans, capacity)

    async def states(self) -> list[WarmState]:
        """Return the states of all that is recorded."""
        return [warm.state for warm in await self.store.warm.listed()]

    async def there(self) -> set[str]:
        """Return which of the recorded databases are on the server."""
        return await self.on_server([warm.database for warm in await self.store.warm.listed()])

    async def on_server(self, names: list[str]) -> set[str]:
        """Return which of some databases and their owner roles are on the server."""
        roles = [*names, *map(owner_name, names)]
        found = await rows(
            self.superuser,
            "SELECT datname FROM pg_database WHERE datname = ANY (%s) "
            "UNION SELECT rolname FROM pg_roles WHERE rolname = ANY (%s)",
            names,
            roles,
        )
        return {name for (name,) in found} & set(names)

    async def run(self, statement: LiteralString) -> None:
        """Change the state behind everybody's back."""
        async with await psycopg.AsyncConnection.connect(self.state_dsn) as state:
            await state.execute(statement)

    async def try_to_claim(
        self, *, of: str | None = None, server: str = "alpha"
    ) -> Location | None:
        """Take one out of the stock, if there is one."""
        async with self.store.transaction() as state:
            return await state.warm.claim(of or fingerprint(PLAN, "k1"), [server])

    async def claim(self) -> Location:
        """Take one out of the stock."""
        taken = await self.try_to_claim()
        assert taken is not None
        return taken

    async def hand_over(self, wanted: Instance, *, server: str = "alpha") -> Location | None:
        """Give an instance one of the stock, finished as it is, if there is one for it."""
        operation = examples.an_operation(OperationKind.PROVISION, id=uuid4(), instance=wanted.key)
        place = await self.store.warm.hand_over(
            wanted, operation.succeeded(), fingerprint=fingerprint(PLAN, "k1"), servers=[server]
        )
        recorded = None if place is None else operation.succeeded()
        assert await self.store.operation(operation.id) == recorded
        return place

    async def provision(self, place: Location, **parameters: Any) -> Instance:
        """Do the steps of a provision that goes there."""
        extensions = ("citext", *parameters.get("extensions", ()))
        instance = replace(
            examples.INSTANCE,
            key=InstanceKey("kubernetes", str(uuid4())),
            database=place.database,
            owner=owner_name(place.database),
            parameters=parameters,
            extensions=extensions,
            status=Status.CREATING,
        )
        await self.do(OperationKind.PROVISION, instance)
        return instance

    async def do(self, kind: OperationKind, instance: Instance, *bindings: Binding) -> None:
        """Do the steps of an operation."""
        target = UpdateTarget(PLAN.id, {}, {}, instance.extensions, None)
        operation = examples.an_operation(
            kind,
            instance=instance.key,
            target=target if kind is OperationKind.UPDATE else None,
        )
        work = Work(operation, instance, bindings)
        steps = steps_of(work, catalog=a_catalog((PLAN,)), tags=self.tags)

        async def all_steps(database: DatabaseSession) -> None:
            for step in steps:
                await step.run(database)

        await self.engine.exclusively(instance.database, all_steps, confirm=confirmed)

    async def shape(self, instance: Instance, server: PostgresServer) -> dict[str, Any]:
        """Return what a database is like, with its name left out."""
        async with server.superuser(instance.database) as session:
            ((text,),) = await rows(session, SHAPE)
        shape: dict[str, Any] = json.loads(text.replace(instance.database, "NAME"))
        return shape

    async def comments(self, database: str) -> list[str]:
        """Return the comments on a database, its group role and its owner role."""
        ((*comments,),) = await rows(
            self.superuser,
            """
            SELECT shobj_description(d.oid, 'pg_database'), shobj_description(g.oid, 'pg_authid'),
                shobj_description(o.oid, 'pg_authid')
            FROM pg_database AS d, pg_roles AS g, pg_roles AS o
            WHERE d.datname = %s AND g.rolname = d.datname AND o.rolname = d.datname || '_owner'
            """,
            database,
        )
        return comments


def a_catalog(plans: tuple[Plan, ...]) -> Catalog:
    """Return a catalog of these plans."""
    return Catalog((Offering(examples.INSTANCE.service_id, "databases", "Some.", plans),))


def a_stock(
    store: PostgresStore,
    tags: EncryptedTags,
    engine: Any,
    plans: tuple[Plan, ...],
    capacity: int | None = None,
) -> WarmStock:
    """Return the stock of a broker with one server and these plans."""
    endpoint = Endpoint("127.0.0.1", 5432)
    server = SharedServer("alpha", "default", endpoint, engine, Capacity(capacity))
    catalog = a_catalog(plans)
    servers = SharedServers([server], catalog)
    return WarmStock(store=store, servers=servers, catalog=catalog, tags=tags, tag_key_id="k1")


@pytest.fixture
async def depot(
    postgres: PostgresServer, state_dsn: str, superuser: Session
) -> AsyncIterator[Depot]:
    """Return an empty stock of two databases; afterwards nothing of it is left."""
    keys = KeyRing([("k1", secrets.token_bytes(32))])
    store, tags = PostgresStore(state_dsn, keys), EncryptedTags(keys)
    engine = PostgresEngine("alpha", postgres.broker_dsn())
    await engine.open()
    depot = Depot(store, engine, tags, a_stock(store, tags, engine, (PLAN,)), superuser, state_dsn)
    yield depot
    await depot.run(LONG_AGO)
    await depot.another().keep()
    assert await depot.states() == []
    await engine.close()
    await store.close()


@asynccontextmanager
async def deprovisioned(depot: Depot, *instances: Instance) -> AsyncIterator[None]:
    """Deprovision instances in the end."""
    yield
    for instance in instances:
        await depot.do(OperationKind.DEPROVISION, instance)
        assert await depot.on_server([instance.database]) == set()
