"""The invariant: state, server catalogs, and what the clients were told agree exactly.

Belongs here: looking at all three, and saying in words where they differ.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from broker.domain.deleted import DeletedKey
from broker.domain.instance import BindingKey, InstanceKey
from broker.domain.names import owner_name, retained_name
from broker.store import EncryptedTags, KeyRing
from tests.support.faults_waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import LiteralString

    from tests.support.faults_platform import Ledger
    from tests.support.postgres import PostgresServer

_PLATFORM = "default"

_BRIEFLY = 5.0
"""Seconds in which credentials have ended that end at once."""

_INSTANCES: LiteralString = (
    "SELECT instance_id, plan_id, parameters, database, owner, extensions, status, tag_key_id"
    " FROM pgbroker.instances"
)
_BINDINGS: LiteralString = "SELECT instance_id, binding_id, login, status FROM pgbroker.bindings"
_STOCK: LiteralString = "SELECT database, tag, state FROM pgbroker.warm_databases"
_KEPT: LiteralString = (
    "SELECT id, instance_id, plan_id, database, owner, tag_key_id, stage"
    " FROM pgbroker.deleted_instances"
)
_IN_PROGRESS: LiteralString = (
    "SELECT kind, instance_id, binding_id FROM pgbroker.operations WHERE state = 'in progress'"
)
_JOBS: LiteralString = (
    "SELECT args ->> 'operation_id' AS operation, status::text"
    " FROM pgbroker_jobs.procrastinate_jobs"
    " WHERE task_name = 'take_over' AND status IN ('todo', 'doing')"
)
_UNATTENDED: LiteralString = (
    "SELECT o.id::text, o.kind FROM pgbroker.operations AS o WHERE o.state = 'in progress'"
    " AND NOT EXISTS (SELECT FROM pgbroker_jobs.procrastinate_jobs AS j"
    " WHERE j.args ->> 'operation_id' = o.id::text)"
)
_DATABASES: LiteralString = (
    "SELECT datname AS name, split_part(shobj_description(oid, 'pg_database'), ' ', 1) AS tag,"
    " datallowconn AS open, datconnlimit AS connections FROM pg_database"
)
_ROLES: LiteralString = (
    "SELECT rolname AS name, split_part(shobj_description(oid, 'pg_authid'), ' ', 1) AS tag,"
    " shobj_description(oid, 'pg_authid') AS comment, rolcanlogin AS login,"
    " rolconnlimit AS connections FROM pg_roles WHERE rolname !~ '^pg_'"
)
_EXTENSIONS: LiteralString = "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql'"
_LOCKS: LiteralString = "SELECT count(*) AS held FROM pg_locks WHERE locktype = 'advisory'"


@dataclass(frozen=True, slots=True)
class _Seen:
    """Everything there is at one moment."""

    instances: dict[str, dict[str, Any]]
    bindings: dict[tuple[str, str], dict[str, Any]]
    kept: dict[str, dict[str, Any]]
    in_progress: list[dict[str, Any]]
    jobs: list[dict[str, Any]]
    stock: list[dict[str, Any]]
    databases: dict[str, dict[str, Any]]
    roles: dict[str, dict[str, Any]]


_NOTHING = _Seen({}, {}, {}, [], [], [], {}, {})


class Agreement:
    """Compares what is there with what was told.

    Args:
        postgres: Holds the tenants, of nobody else.
        state_dsn: The state database.
        keys: The brokers' encryption keys.
        connections: The connection limit of a database, by plan id.
    """

    def __init__(
        self,
        postgres: PostgresServer,
        state_dsn: str,
        keys: KeyRing,
        *,
        connections: dict[str, int],
    ) -> None:
        self._postgres = postgres
        self._state_dsn = state_dsn
        self._tags = EncryptedTags(keys)
        self._connections = connections
        self._before = _NOTHING

    async def begin(self) -> None:
        """Leave out what is there now: it is not of this test's making, but for the stock.

        Of that, a database may be an instance's later, or have its roles already and nothing else.
        """
        self._before = _NOTHING
        seen = await self._look()
        async with await _connect(self._state_dsn) as state:
            stock = [*seen.stock, *await _rows(state, _STOCK)]
        names = {warm["database"] for warm in stock}
        names |= {owner_name(name) for name in names}
        self._before = replace(
            seen,
            stock=[],
            databases={name: row for name, row in seen.databases.items() if name not in names},
            roles={name: row for name, row in seen.roles.items() if name not in names},
        )

    async def settle(self, *, within: float = PATIENCE) -> None:
        """Wait until no operation is in progress and no lock of a database is held.

        There is no job then that would take one over, and the warm stock is at rest, too: nothing
        is being made, handed over or dropped.

        Args:
            within: Seconds.
        """

        async def settled() -> bool:
            async with await _connect(self._state_dsn) as state:
                in_progress = await _rows(state, _IN_PROGRESS)
                jobs = await _rows(state, _JOBS)
                stock = await _rows(state, _STOCK)
            async with await _connect(self._postgres.superuser_dsn()) as server:
                (locks,) = await _rows(server, _LOCKS)
            rests = all(warm["state"] == "ready" for warm in stock)
            left = [job for job in jobs if job not in self._before.jobs]
            return not in_progress and not left and rests and locks["held"] == 0

        await until(settled, what="every operation ends", within=within)

    async def unattended(self) -> list[str]:
        """Return the operations in progress that no job would take over, at any moment."""
        async with await _connect(self._state_dsn) as state:
            found = await _rows(state, _UNATTENDED)
        return [f"no job takes over the {row['kind']} {row['id']}" for row in found]

    async def differences(self, ledger: Ledger) -> list[str]:
        """Return what does not agree, in words; nothing when all does."""
        seen = await self._look_at_rest()
        return [
            *_compare("the state's instances", seen.instances, ledger.instances),
            *_compare("the state's bindings", seen.bindings, ledger.bindings),
            *_compare("the state's deleted instances", seen.kept, ledger.kept),
            *(
                f"the deleted instance {former} is {row['stage']}"
                for former, row in seen.kept.items()
                if row["stage"] != "retained"
            ),
            *(f"in progress: {operation}" for operation in seen.in_progress),
            *(f"a job of nothing in progress: {job}" for job in seen.jobs),
            *(f"not at rest: {warm}" for warm in seen.stock if warm["state"] != "ready"),
            *self._of_instances(seen, ledger),
            *self._of_server(seen),
            *self._of_records(seen),
            *await self._of_extensions(seen),
            *await _of_logins(ledger),
        ]

    def _of_instances(self, seen: _Seen, ledger: Ledger) -> Iterator[str]:
        for instance_id, row in seen.instances.items():
            known = ledger.instances.get(instance_id)
            if row["status"] != "ready":
                yield f"instance {instance_id} is {row['status']}"
            if known is None:
                continue
            if row["plan_id"] != known.plan_id:
                yield f"instance {instance_id} has plan {row['plan_id']}, not {known.plan_id}"
            if row["parameters"] != known.parameters:
                yield f"instance {instance_id} has {row['parameters']}, not {known.parameters}"
        for key, row in seen.bindings.items():
            told = ledger.bindings.get(key)
            if row["status"] != "ready":
                yield f"binding {key} is {row['status']}"
            if told is not None and told["username"] != row["login"]:
                yield f"binding {key} has the login {row['login']}, not {told['username']}"

    def _of_server(self, seen: _Seen) -> Iterator[str]:
        databases, roles = {}, {}
        for instance_id, row in seen.instances.items():
            key = InstanceKey(_PLATFORM, instance_id)
            tag = self._tags.instance(key, row["tag_key_id"])
            limit = self._connections[row["plan_id"]]
            databases[row["database"]] = {"tag": tag, "open": True, "connections": limit}
            roles[row["database"]] = {"tag": tag, "login": False, "connections": -1}
            roles[row["owner"]] = {"tag": tag, "login": False, "connections": limit}
        for (instance_id, binding_id), row in seen.bindings.items():
            owner = seen.instances[instance_id]
            binding = BindingKey(InstanceKey(_PLATFORM, instance_id), binding_id)
            tag = self._tags.binding(binding, owner["tag_key_id"])
            roles[row["login"]] = {"tag": tag, "login": True}
        for instance_id, row in seen.kept.items():
            deleted = DeletedKey(InstanceKey(_PLATFORM, instance_id), row["id"])
            tag = self._tags.deleted(deleted, row["tag_key_id"])
            databases[retained_name(row["database"])] = {"tag": tag, "open": False}
            for role in (row["database"], row["owner"]):
                roles[role] = {"tag": tag, "login": False}
        for warm in seen.stock:
            name, tag = warm["database"], warm["tag"]
            databases[name] = {"tag": tag, "open": True}
            roles |= {role: {"tag": tag, "login": False} for role in (name, owner_name(name))}
        yield from _compare("the server's databases", seen.databases, databases)
        yield from _compare("the server's roles", seen.roles, roles)
        for there, expected in ((seen.databases, databases), (seen.roles, roles)):
            for name in there.keys() & expected.keys():
                for what, value in expected[name].items():
                    if there[name][what] != value:
                        yield f"{name}: {what} is {there[name][what]!r}, not {value!r}"

    def _of_records(self, seen: _Seen) -> Iterator[str]:
        """Compare what the roles say of themselves, for a state that is lost."""
        for instance_id, row in seen.instances.items():
            comment = seen.roles.get(row["owner"], {}).get("comment") or ""
            found = self._tags.recover_instance(comment, database=row["database"])
            if found is None or (found.plan_id, found.parameters) != (
                row["plan_id"],
                row["parameters"],
            ):
                yield f"the owner role of {instance_id} has another record: {found}"
        for key, row in seen.bindings.items():
            comment = seen.roles.get(row["login"], {}).get("comment") or ""
            if self._tags.recover_binding(comment, login=row["login"]) is None:
                yield f"the login role of {key} has no record"

    async def _of_extensions(self, seen: _Seen) -> list[str]:
        differences = []
        for instance_id, row in seen.instances.items():
            if not seen.databases.get(row["database"], {}).get("open"):
                continue
            async with await _connect(self._postgres.superuser_dsn(row["database"])) as database:
                there = {found["extname"] for found in await _rows(database, _EXTENSIONS)}
            if there != set(row["extensions"]):
                differences.append(f"{instance_id} has {there}, not {row['extensions']}")
        return differences

    async def _look_at_rest(self) -> _Seen:
        """Look while nothing is being made for the stock, which is filled with rests in between."""
        looks: list[_Seen] = []

        async def rests() -> bool:
            looks.append(await self._look())
            async with await _connect(self._state_dsn) as state:
                now = {(warm["database"], warm["state"]) for warm in await _rows(state, _STOCK)}
            then = {(warm["database"], warm["state"]) for warm in looks[-1].stock}
            return then == now and {state for _, state in now} <= {"ready"}

        # If it never rests, that is among what does not agree.
        with suppress(AssertionError):
            await until(rests, what="the stock is at rest")
        return looks[-1]

    async def _look(self) -> _Seen:
        async with await _connect(self._state_dsn) as state:
            instances = await _rows(state, _INSTANCES)
            bindings = await _rows(state, _BINDINGS)
            kept = await _rows(state, _KEPT)
            in_progress = await _rows(state, _IN_PROGRESS)
            jobs = await _rows(state, _JOBS)
            stock = await _rows(state, _STOCK)
        async with await _connect(self._postgres.superuser_dsn()) as server:
            databases, roles = await _rows(server, _DATABASES), await _rows(server, _ROLES)
        before = self._before
        return _Seen(
            _new(((row["instance_id"], row) for row in instances), before.instances),
            _new(
                (((row["instance_id"], row["binding_id"]), row) for row in bindings),
                before.bindings,
            ),
            _new(((row["instance_id"], row) for row in kept), before.kept),
            [row for row in in_progress if row not in before.in_progress],
            [row for row in jobs if row not in before.jobs],
            [row for row in stock if row["database"] not in before.databases],
            _new(((row["name"], row) for row in databases), before.databases),
            _new(((row["name"], row) for row in roles), before.roles),
        )


async def logs_in(credentials: dict[str, Any]) -> bool:
    """Tell whether credentials let somebody in."""
    try:
        async with await psycopg.AsyncConnection.connect(
            credentials["uri"], autocommit=True, connect_timeout=10
        ) as connection:
            await connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


async def _of_logins(ledger: Ledger) -> list[str]:
    # One after the other: a server may have few connections to spare.
    return [
        *[
            f"{key} cannot log in"
            for key, valid in ledger.bindings.items()
            if key not in ledger.brief and not await logs_in(valid)
        ],
        *[
            f"{key} has ended and logs in"
            for key in ledger.brief
            if not await _ends(ledger.bindings[key])
        ],
        *[f"revoked {gone['username']} logs in" for gone in ledger.revoked if await logs_in(gone)],
    ]


async def _ends(credentials: dict[str, Any]) -> bool:
    """Tell whether credentials that end at once have ended: they may have been given just now."""

    async def refused() -> bool:
        return not await logs_in(credentials)

    try:
        await until(refused, what="they end", within=_BRIEFLY)
    except AssertionError:
        return False
    return True


def _compare(what: str, there: Iterable[Any], expected: Iterable[Any]) -> Iterator[str]:
    found, wanted = set(there), set(expected)
    yield from (f"{what} have {surplus!r}, and nobody owns it" for surplus in found - wanted)
    yield from (f"{what} lack {missing!r}" for missing in wanted - found)


def _new(pairs: Iterable[tuple[Any, dict[str, Any]]], before: dict[Any, Any]) -> dict[Any, Any]:
    return {key: row for key, row in pairs if key not in before}


async def _connect(dsn: str) -> psycopg.AsyncConnection[dict[str, Any]]:
    return await psycopg.AsyncConnection.connect(dsn, autocommit=True, row_factory=dict_row)


async def _rows(
    connection: psycopg.AsyncConnection[dict[str, Any]], query: LiteralString
) -> list[dict[str, Any]]:
    return await (await connection.execute(query)).fetchall()
