"""Comparing one database and its roles with what they should be, under its lock.

Belongs here: what is looked at, and what counts as different. What tenants may change for
themselves is theirs: settings of their own logins, privileges inside their schemas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.domain.database import Access, tag_of
from broker.domain.drift import Deviation, DriftKind
from broker.domain.inventory import is_quarantined
from broker.postgres import inventory_statements as sql
from broker.postgres import statements

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from psycopg.rows import TupleRow

    from broker.domain.database import DatabaseSpec, LoginSpec
    from broker.postgres.connections import Connections
    from broker.postgres.facts import Facts
    from broker.postgres.hold import Hold

_OWNER_MAY = {"CONNECT", "TEMPORARY", "CREATE"}
_READABLE = {"r": "tables", "S": "sequences", "n": "schemas"}
_LARGE_OBJECTS = {"L": "large objects"}


@dataclass(frozen=True, slots=True)
class SeenDatabase:
    """A database, looked at closely.

    Attributes:
        comment: Its COMMENT.
        connectable: Whether it accepts connections at all.
        connection_limit: How many.
        settings: ``name=value``, as set for all its sessions.
        grants: Grantee (``''`` is PUBLIC), privilege, and whether the grantee is the broker's.
        ours: Whether it belongs to the broker's role.
    """

    comment: str | None
    connectable: bool
    connection_limit: int
    settings: list[str]
    grants: list[tuple[str, str, bool]]
    ours: bool

    def strangers(self, spec: DatabaseSpec) -> list[str]:
        """Return the roles of other databases that were granted something on this one."""
        ours = {spec.name, spec.owner}
        return sorted({name for name, _, tagged in self.grants if tagged and name not in ours})


@dataclass(frozen=True, slots=True)
class SeenRole:
    """A role, looked at closely.

    Attributes:
        name: Its name.
        oid: Its object identifier.
        comment: Its COMMENT.
        can_login: Whether it may log in.
        connection_limit: How many sessions; -1 is any number.
        valid_until: When its password ends; ``None`` is never.
        groups: The broker's roles it is a direct member of.
        powers: Attributes and predefined roles that the broker gives to no role.
    """

    name: str
    oid: int
    comment: str | None
    can_login: bool
    connection_limit: int
    valid_until: datetime | None
    groups: list[str]
    powers: list[str]


@dataclass(frozen=True, slots=True)
class Sight:
    """One database and its roles.

    Attributes:
        database: ``None`` when it is not there.
        roles: Those that are there, by name.
    """

    database: SeenDatabase | None
    roles: dict[str, SeenRole]


async def see(hold: Hold, spec: DatabaseSpec, logins: Sequence[LoginSpec]) -> Sight:
    """Look at a database, its group roles and its logins."""
    cursor = await hold.connection.execute(sql.SEEN_DATABASE, [spec.name])
    row = await cursor.fetchone()
    names = [spec.name, spec.owner, *(login.name for login in logins)]
    return Sight(
        database=None if row is None else _database(row),
        roles=await see_roles(hold, names),
    )


async def see_roles(hold: Hold, names: Sequence[str]) -> dict[str, SeenRole]:
    """Look at those of some roles that exist, by name."""
    cursor = await hold.connection.execute(sql.SEEN_ROLES, {"names": list(names)})
    return {role.name: role for role in (SeenRole(*row) for row in await cursor.fetchall())}


def _database(row: TupleRow) -> SeenDatabase:
    comment, connectable, connection_limit, settings, grants, ours = row
    # The parts of an anonymous row come as text.
    explicit = [(grantee, privilege, tagged == "t") for grantee, privilege, tagged in grants]
    return SeenDatabase(comment, connectable, connection_limit, settings, explicit, ours)


def compare(
    sight: Sight, spec: DatabaseSpec, logins: Sequence[LoginSpec], facts: Facts
) -> list[Deviation]:
    """Say what is different from what should be, as far as it can be seen from outside.

    Args:
        sight: What is there.
        spec: The database of an instance that is ready.
        logins: Of its bindings that are ready.
        facts: About the server.
    """
    found = sight.database
    if found is None or found.connection_limit == statements.INVALID_DATABASE:
        why = "does not exist" if found is None else "has been dropped by half"
        detail = f"The database {why}. Restore it from a backup, or delete the service instance."
        return [Deviation(DriftKind.DATABASE_MISSING, spec.name, detail)]
    if found.comment is not None and tag_of(found.comment) != spec.tag:
        return [_foreign(spec.name)]
    if not found.ours:
        detail = "The database belongs to another role than the broker's, which can do nothing."
        return [Deviation(DriftKind.FOREIGN, spec.name, detail)]
    if not found.connectable and not is_quarantined(found.comment):
        detail = "The database accepts no connections, and the broker did not close it."
        return [Deviation(DriftKind.CLOSED, spec.name, detail)]
    return [
        *_of_database(found, spec, facts),
        *_of_groups(sight.roles, spec),
        *_of_powers(sight.roles, spec),
        *(found for login in logins for found in _of_login(sight.roles.get(login.name), login)),
    ]


async def compare_inside(
    connections: Connections, hold: Hold, spec: DatabaseSpec, logins: Sequence[LoginSpec]
) -> list[Deviation]:
    """Say what is different inside the database: what read-only logins get to read.

    Raises:
        TemporaryFailure: The database accepts no connections.
    """
    large = hold.facts.version >= statements.LARGE_OBJECT_DEFAULTS
    wanted = _READABLE | (_LARGE_OBJECTS if large else {})
    async with connections.tenant(hold) as tenant:
        cursor = await tenant.execute(sql.DEFAULTS, {"owner": spec.owner, "group": spec.name})
        missing = wanted.keys() - {kind for (kind,) in await cursor.fetchall()}
        unreadable = 0
        if any(login.access is Access.READ for login in logins):
            for statement in (statements.UNREADABLE_SCHEMAS, statements.UNREADABLE_RELATIONS):
                unreadable += len(await (await tenant.execute(statement, [spec.name])).fetchall())
    if not missing and not unreadable:
        return []
    new = ", ".join(sorted(wanted[kind] for kind in missing))
    parts = [f"new {new}"] if new else []
    parts += [f"{unreadable} existing objects"] if unreadable else []
    detail = f"Read-only logins cannot read {' and '.join(parts)}."
    return [Deviation(DriftKind.READING, spec.name, detail)]


def _of_database(found: SeenDatabase, spec: DatabaseSpec, facts: Facts) -> Iterator[Deviation]:
    name, limit = spec.name, spec.limits.connections
    if is_quarantined(found.comment):
        yield Deviation(DriftKind.QUARANTINED, name, "The database is known by now.")
    elif found.comment is None:
        yield Deviation(DriftKind.COMMENT, name, "The database does not say whose it is.")
    if found.connection_limit != limit:
        detail = f"The connection limit is {found.connection_limit}, the plan's is {limit}."
        yield Deviation(DriftKind.LIMITS, name, detail)
    present = dict(setting.split("=", 1) for setting in found.settings)
    wanted = statements.setting_values(spec.limits, temp_file_limit=facts.can_set_temp_file_limit)
    for setting, value in wanted.items():
        if present.get(setting) != (None if value is None else str(value)):
            detail = f"{setting} is {present.get(setting)}, the plan's is {value}."
            yield Deviation(DriftKind.LIMITS, name, detail)
    held = {(grantee, privilege) for grantee, privilege, _ in found.grants}
    lacking = {(spec.owner, privilege) for privilege in _OWNER_MAY} | {(name, "CONNECT")}
    if lacking := lacking - held:
        what = ", ".join(sorted(f"{privilege} of {grantee}" for grantee, privilege in lacking))
        yield Deviation(DriftKind.GRANTS, name, f"Privileges are missing: {what}.")
    if public := sorted(privilege for grantee, privilege in held if not grantee):
        detail = f"Everybody has {', '.join(public)} on the database."
        yield Deviation(DriftKind.GRANTS, name, detail)
    if strangers := found.strangers(spec):
        detail = f"Roles of other databases have privileges on it: {', '.join(strangers)}."
        yield Deviation(DriftKind.GRANTS, name, detail)


def _of_groups(roles: dict[str, SeenRole], spec: DatabaseSpec) -> Iterator[Deviation]:
    for name, comment in ((spec.name, spec.tag), (spec.owner, spec.owner_comment)):
        role = roles.get(name)
        if role is None:
            yield Deviation(DriftKind.ROLE_MISSING, name, "The group role does not exist.")
        elif role.comment is not None and tag_of(role.comment) != spec.tag:
            yield _foreign(name)
        elif role.comment != comment:
            yield Deviation(DriftKind.COMMENT, name, "The comment is missing or out of date.")
    owner = roles.get(spec.owner)
    if owner is None:
        return
    if owner.connection_limit != spec.limits.connections:
        detail = (
            f"It says {owner.connection_limit} connections, the plan {spec.limits.connections}."
        )
        yield Deviation(DriftKind.LIMITS, spec.owner, detail)
    if spec.name not in owner.groups:
        detail = f"The owner role is not a member of {spec.name}."
        yield Deviation(DriftKind.MEMBERSHIP, spec.owner, detail)
    for name in (spec.name, spec.owner):
        others = [] if name not in roles else strange_groups(roles[name], spec)
        if others:
            detail = f"It is a member of {', '.join(others)}, as are all logins of its database."
            yield Deviation(DriftKind.MEMBERSHIP, name, detail)


def strange_groups(role: SeenRole, spec: DatabaseSpec) -> list[str]:
    """Return the broker's roles that a group role is a member of and should not be."""
    return [group for group in role.groups if (role.name, group) != (spec.owner, spec.name)]


def _of_powers(roles: dict[str, SeenRole], spec: DatabaseSpec) -> Iterator[Deviation]:
    for name, role in sorted(roles.items()):
        logs_in = ["LOGIN"] if role.can_login and name in {spec.name, spec.owner} else []
        if powers := [*logs_in, *role.powers]:
            detail = f"Somebody has given it more than the broker does: {', '.join(powers)}."
            yield Deviation(DriftKind.PRIVILEGED, name, detail)


def _of_login(role: SeenRole | None, spec: LoginSpec) -> Iterator[Deviation]:
    if role is None:
        detail = "The login does not exist: unbind, or rotate the binding."
        yield Deviation(DriftKind.ROLE_MISSING, spec.name, detail)
        return
    if role.comment is not None and tag_of(role.comment) != spec.tag:
        yield _foreign(spec.name)
        return
    quarantined = is_quarantined(role.comment)
    if not role.can_login and not quarantined:
        detail = "The login may not log in, and the broker did not close it."
        yield Deviation(DriftKind.CLOSED, spec.name, detail)
        return
    if quarantined:
        yield Deviation(DriftKind.QUARANTINED, spec.name, "The login is known by now.")
    elif role.comment != spec.comment:
        yield Deviation(DriftKind.COMMENT, spec.name, "The comment is missing or out of date.")
    limit = spec.limits.connections_per_binding
    if role.connection_limit != limit:
        detail = f"The connection limit is {role.connection_limit}, the plan's is {limit}."
        yield Deviation(DriftKind.LOGIN, spec.name, detail)
    if role.valid_until != spec.valid_until:
        detail = f"It is valid until {role.valid_until}, the binding until {spec.valid_until}."
        yield Deviation(DriftKind.LOGIN, spec.name, detail)
    if role.groups != [spec.group]:
        detail = f"It is a member of {', '.join(role.groups) or 'nothing'}, not of {spec.group}."
        yield Deviation(DriftKind.MEMBERSHIP, spec.name, detail)


def _foreign(name: str) -> Deviation:
    detail = "Its comment says that it is not this instance's or binding's. Find out whose it is."
    return Deviation(DriftKind.FOREIGN, name, detail)
