"""Repairing one database and its roles, and closing what nobody knows, under its lock.

Belongs here: what can be put right without anybody's data or access being at risk. Nothing here
drops anything.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import structlog

from broker.domain.drift import Deviation, DriftKind
from broker.domain.inventory import QUARANTINED, is_quarantined
from broker.postgres import inventory_statements as sql
from broker.postgres import revocation_statements, statements
from broker.postgres.databases import limits
from broker.postgres.deviations import (
    Sight,
    compare,
    compare_inside,
    see,
    see_roles,
    strange_groups,
)
from broker.postgres.errors import is_busy, is_lost
from broker.postgres.logins import let_read
from broker.postgres.retention_statements import end_in_database
from broker.postgres.sessions import end_sessions, end_until_gone, insist

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from psycopg.sql import Composed

    from broker.domain.database import DatabaseSpec, LoginSpec
    from broker.postgres.connections import Connections
    from broker.postgres.hold import Hold

log = structlog.get_logger()

_UNTOUCHABLE = {DriftKind.DATABASE_MISSING, DriftKind.CLOSED, DriftKind.FOREIGN}
_OF_DATABASE = {
    DriftKind.LIMITS,
    DriftKind.GRANTS,
    DriftKind.MEMBERSHIP,
    DriftKind.COMMENT,
    DriftKind.QUARANTINED,
}
_OF_LOGIN = {
    DriftKind.LOGIN,
    DriftKind.MEMBERSHIP,
    DriftKind.COMMENT,
    DriftKind.QUARANTINED,
}


async def find_deviations(
    connections: Connections, hold: Hold, spec: DatabaseSpec, logins: Sequence[LoginSpec]
) -> list[Deviation]:
    """Say what is different from what should be, inside the database, too."""
    return await _find(connections, hold, await see(hold, spec, logins), spec, logins)


async def mend(
    connections: Connections, hold: Hold, spec: DatabaseSpec, logins: Sequence[LoginSpec]
) -> tuple[list[Deviation], list[Deviation]]:
    """Repair what can be repaired.

    Returns:
        What was different before, and what of it still is.
    """
    sight = await see(hold, spec, logins)
    found = await _find(connections, hold, sight, spec, logins)
    if not found:
        return [], []
    outside = [deviation for deviation in found if deviation.kind is not DriftKind.READING]
    if not any(d.kind in _UNTOUCHABLE and d.subject == spec.name for d in found):
        with _left_if_refused(spec.name):
            await _mend_database(hold, sight, spec, outside)
        foreign = {deviation.subject for deviation in found if deviation.kind in _UNTOUCHABLE}
        for name in {spec.name, spec.owner} - foreign:
            with _left_if_refused(name):
                await _mend_group(connections, hold, sight, name, spec)
        for login in logins:
            with _left_if_refused(login.name):
                await _mend_login(connections, hold, sight, login, outside)
        if spec.owner in sight.roles and spec.name in sight.roles:
            with _left_if_refused(spec.name):
                await _mend_reading(connections, hold, spec, found)
    hold.changed()
    after = await find_deviations(connections, hold, spec, logins)
    return found, after


@contextmanager
def _left_if_refused(subject: str) -> Iterator[None]:
    """Leave to a person what PostgreSQL will not let us repair, and repair the rest."""
    try:
        yield
    except psycopg.Error as exc:
        if is_lost(exc) or is_busy(exc):
            raise
        message = exc.diag.message_primary
        log.warning("not repaired", subject=subject, sqlstate=exc.sqlstate, message=message)


async def quarantine_database(hold: Hold, database: str, tag: str) -> bool:
    """Let nobody into a database any more, end its sessions, and say in its comment why.

    Returns:
        ``False`` when there is no such database, or it is in quarantine already.
    """
    cursor = await hold.connection.execute(sql.SEEN_DATABASE, [database])
    row = await cursor.fetchone()
    if row is None or (is_quarantined(row[0]) and not row[1]):
        return False
    hold.changed()
    await statements.run(hold.connection, *sql.close_database(database, f"{tag} {QUARANTINED}"))
    await end_until_gone(hold, end_in_database(database))
    return True


async def quarantine_login(connections: Connections, hold: Hold, login: str) -> bool:
    """Let a login in no more, end its sessions, and say in its comment why.

    Returns:
        ``False`` when there is no such role of the broker's.
    """
    role = (await see_roles(hold, [login])).get(login)
    if role is None or role.comment is None:
        return False
    marked = role.comment if is_quarantined(role.comment) else f"{role.comment} {QUARANTINED}"
    await insist(
        connections,
        hold.connection,
        revocation_statements.no_login(login),
        statements.comment_on_role(login, marked),
    )
    await end_sessions(hold, [role.oid])
    return True


async def _find(
    connections: Connections,
    hold: Hold,
    sight: Sight,
    spec: DatabaseSpec,
    logins: Sequence[LoginSpec],
) -> list[Deviation]:
    found = compare(sight, spec, logins, hold.facts)
    reachable = sight.database is not None and sight.database.connectable
    if reachable and not any(d.kind in _UNTOUCHABLE and d.subject == spec.name for d in found):
        found += await compare_inside(connections, hold, spec, logins)
    return found


async def _mend_database(
    hold: Hold, sight: Sight, spec: DatabaseSpec, found: Sequence[Deviation]
) -> None:
    groups = {spec.name, spec.owner}
    present = groups & sight.roles.keys()
    if present != groups or any(d.kind is DriftKind.FOREIGN and d.subject in groups for d in found):
        return
    if not any(d.kind in _OF_DATABASE and d.subject in groups for d in found):
        return
    strangers = [] if sight.database is None else sight.database.strangers(spec)
    repairs: list[Composed] = [
        *statements.fence(spec),
        *(sql.shut_out(spec.name, stranger) for stranger in strangers),
        *limits(hold, spec),
        statements.record_limit(spec.owner, spec.limits.connections),
        statements.comment_on_role(spec.name, spec.tag),
        statements.comment_on_role(spec.owner, spec.owner_comment),
    ]
    if spec.name not in sight.roles[spec.owner].groups:
        repairs.append(statements.join_groups(spec, hold.facts.version))
    await statements.run(hold.connection, *repairs)
    await end_sessions(hold, [])


async def _mend_group(
    connections: Connections, hold: Hold, sight: Sight, name: str, spec: DatabaseSpec
) -> None:
    """Take a group role out of other databases' groups, and with it all logins of its own."""
    role = sight.roles.get(name)
    strange = [] if role is None else strange_groups(role, spec)
    if strange:
        await insist(
            connections, hold.connection, *(sql.leave_group(name, group) for group in strange)
        )
        after = await see_roles(hold, [name, *strange])
        if name in after and not {*strange} <= {*after[name].groups}:
            # Sessions go on with the rights they had.
            await end_sessions(hold, [role.oid for role in sight.roles.values() if role.can_login])


async def _mend_login(
    connections: Connections,
    hold: Hold,
    sight: Sight,
    spec: LoginSpec,
    found: Sequence[Deviation],
) -> None:
    kinds = {deviation.kind for deviation in found if deviation.subject == spec.name}
    role = sight.roles.get(spec.name)
    if role is None or kinds & _UNTOUCHABLE or not kinds & _OF_LOGIN:
        return
    if spec.group not in sight.roles:
        return  # it is to be restored first
    await insist(
        connections,
        hold.connection,
        *statements.alter_login(spec),
        *(sql.leave_group(spec.name, group) for group in role.groups if group != spec.group),
    )
    after = await see_roles(hold, [spec.name, *role.groups])
    if spec.name in after and set(after[spec.name].groups) != set(role.groups):
        # A session goes on with the rights it had.
        await end_sessions(hold, [role.oid])


async def _mend_reading(
    connections: Connections, hold: Hold, spec: DatabaseSpec, found: Sequence[Deviation]
) -> None:
    if not any(deviation.kind is DriftKind.READING for deviation in found):
        return
    async with connections.tenant(hold) as tenant:
        await statements.run(tenant, *statements.default_reading(spec, hold.facts.version))
    await let_read(connections, hold, spec.name)
