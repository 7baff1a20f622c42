"""Every statement of the store, by name; ``transaction.py`` and ``store.py`` run them.

Each is built once: building a statement takes SQLAlchemy longer than PostgreSQL takes to run it.
A statement's parameters are columns by their names, or in a condition ``key_`` and the name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Interval,
    Text,
    bindparam,
    cast,
    column,
    delete,
    exists,
    func,
    insert,
    select,
    table,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert as insert_unless
from sqlalchemy.types import UserDefinedType

from broker.domain.operation import OperationState
from broker.domain.warm import WarmState
from broker.store.queue import QUEUE_SCHEMA
from broker.store.tables import (
    SCHEMA,
    bindings,
    encryption_keys,
    instances,
    operations,
    server_cordons,
    warm_databases,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Delete, Select, Table, Update
    from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate


class _TransactionId(UserDefinedType[str]):
    """PostgreSQL's ``xid8``."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "xid8"


def _is(column: ColumnElement[Any]) -> ColumnElement[bool]:
    return column == bindparam(f"key_{column.key}")


def _whole_key(of: Table) -> ColumnElement[bool]:
    first, *rest = (_is(part) for part in of.primary_key)
    condition: ColumnElement[bool] = first
    for term in rest:
        condition &= term
    return condition


def _columns(of: Table, *fixed: str) -> dict[str, Any]:
    return {
        part.key: bindparam(part.key, type_=part.type) for part in of.c if part.key not in fixed
    }


def _some(of: Table, *names: str) -> dict[str, Any]:
    return {name: bindparam(name, type_=of.c[name].type) for name in names}


def _without_key(of: Table, *fixed: str) -> dict[str, Any]:
    return _columns(of, *(part.key for part in of.primary_key), *fixed)


_in_progress = operations.c.state == OperationState.IN_PROGRESS.value
_on_instance = _is(operations.c.platform) & _is(operations.c.instance_id)
_itself = _on_instance & operations.c.binding_id.is_(None)
_its_binding = _on_instance & _is(operations.c.binding_id)
_lease_end = func.clock_timestamp() + bindparam("lease", type_=Interval)
_held = (operations.c.id == bindparam("key_id")) & _is(operations.c.lease_token) & _in_progress
_functions = getattr(func, SCHEMA)
_transaction = cast(func.pg_current_xact_id(), Text)
_status = {"status": bindparam("status", type_=Text)}
_oldest = operations.c.sequence
_newest = operations.c.sequence.desc()

# Instances

WHOLE_INSTANCE_KEY = _whole_key(instances)
READ_INSTANCE = select(instances).where(WHOLE_INSTANCE_KEY)
LOCK_INSTANCE = READ_INSTANCE.with_for_update()
_new_instance = _columns(instances)


def _adding(condition: ColumnElement[bool]) -> ReturningInsert[Any]:
    # On a conflict of the primary key only: a collision of random names is a defect, not a replay.
    return (
        insert_unless(instances)
        .from_select([*_new_instance], select(*_new_instance.values()).where(condition))
        .on_conflict_do_nothing(index_elements=instances.primary_key)
        .returning(true())
    )


def _id_of(platform: ColumnElement[str], instance: ColumnElement[str]) -> ColumnElement[int]:
    """Return what is locked of an instance that has no row yet."""
    return func.hashtextextended(func.concat(f"{SCHEMA} instance ", platform, " ", instance), 0)


def while_added(platform: ColumnElement[str], instance: ColumnElement[str]) -> ColumnElement[bool]:
    """Return a condition, always true, under which an instance is added.

    One that is being added has no row for anybody else, and so nothing to lock, for as long as its
    transaction takes; a commit can wait for the disk or for a standby. Whoever must be certain that
    there is none waits for this (``AWAIT_INSTANCE``).
    """
    return func.pg_advisory_xact_lock_shared(_id_of(platform, instance)).is_not(None)


_while_added = while_added(_new_instance["platform"], _new_instance["instance_id"])
ADD_INSTANCE = _adding(_while_added)
AWAIT_INSTANCE = select(
    func.pg_advisory_xact_lock(
        _id_of(bindparam("key_platform", type_=Text), bindparam("key_instance_id", type_=Text))
    )
)
# A cordon holds at once: it is looked for by the statement that would make it too late.
_ADD_UNLESS_CORDONED = _adding(
    _while_added & ~exists().where(server_cordons.c.server == _new_instance["server"])
)
SAVE_INSTANCE = (
    update(instances)
    .where(_whole_key(instances))
    .values(_without_key(instances, "tag_key_id", "created_at"))
)
REMOVE_INSTANCE = delete(instances).where(_whole_key(instances))

# Bindings

READ_BINDING = select(bindings).where(_whole_key(bindings))
LOCK_BINDING = READ_BINDING.with_for_update()
READ_BINDINGS = (
    select(bindings)
    .where(_is(bindings.c.platform) & _is(bindings.c.instance_id))
    .order_by(bindings.c.created_at, bindings.c.binding_id)
)
ADD_BINDING = (
    insert_unless(bindings)
    .values(_columns(bindings))
    .on_conflict_do_nothing(index_elements=bindings.primary_key)
    .returning(true())
)
SET_TAG_KEY = (
    update(instances).where(_whole_key(instances)).values(tag_key_id=bindparam("tag_key_id"))
)
SET_INSTANCE_STATUS = update(instances).where(_whole_key(instances)).values(_status)
SET_BINDING_SECRET = (
    update(bindings).where(_whole_key(bindings)).values(_some(bindings, "secret", "secret_key_id"))
)
SET_BINDING_STATUS = update(bindings).where(_whole_key(bindings)).values(_status)

# Operations

READ_OPERATION = select(operations).where(operations.c.id == bindparam("key_id"))
NEWEST_ON_INSTANCE = select(operations).where(_itself).order_by(_newest).limit(1)
NEWEST_ON_BINDING = select(operations).where(_its_binding).order_by(_newest).limit(1)
ACTIVE = select(operations).where(_on_instance & _in_progress).order_by(_oldest)
# A database of the warm stock that an instance has, and that does not say so yet, is in progress.
BUSY = select(true()).where(
    exists().where(_on_instance & _in_progress)
    | exists().where(
        _whole_key(instances),
        warm_databases.c.database == instances.c.database,
        warm_databases.c.state == WarmState.CLAIMED.value,
    )
)
# Recording and finishing tell the transaction's id: should the answer to COMMIT get lost, the id
# leads to what became of it. After a crash the id may be another's: the record is looked for, too.
IS_RECORDED = select(true()).where(operations.c.id == bindparam("key_id"))
IS_OVER = IS_RECORDED.where(~_in_progress)
# The job that takes an operation over when its process has died is
# put into the queue and taken out in the same statements.
# Named apart from the columns of the subject: a name of both would be written to both.
RECORDED = {
    name: bindparam(f"operation_{name}", type_=value.type)
    for name, value in _columns(operations, "sequence", "finished_at").items()
} | {"lease_until": _lease_end}
_lease = (operations.c.id, operations.c.lease_until)


def _with_job(added: ReturningInsert[Any]) -> Select[Any]:
    operation = added.cte("added")
    return select(_transaction, _functions.defer_takeover(operation.c.id, operation.c.lease_until))


def _recording(subject: ReturningInsert[Any] | ReturningUpdate[Any]) -> Select[Any]:
    """Insert an operation if its subject could be written, in one round trip."""
    row = select(*RECORDED.values()).select_from(subject.cte("subject"))
    return _with_job(insert(operations).from_select([*RECORDED], row).returning(*_lease))


ADD_OPERATION = _with_job(insert(operations).values(RECORDED).returning(*_lease))
RECORD_WITH_INSTANCE = _recording(ADD_INSTANCE)
RECORD_UNLESS_CORDONED = _recording(_ADD_UNLESS_CORDONED)
RECORD_WITH_BINDING = _recording(ADD_BINDING)
RECORD_ON_INSTANCE = _recording(SET_INSTANCE_STATUS.returning(true()))
RECORD_ON_BINDING = _recording(SET_BINDING_STATUS.returning(true()))
_outcome = {
    name: bindparam(name, type_=operations.c[name].type)
    for name in ("state", "description", "error", "instance_usable", "update_repeatable")
} | {"finished_at": func.clock_timestamp()}
EXTEND_LEASE = update(operations).where(_held).values(lease_until=_lease_end)
HELD = select(true()).where(_held)
DESCRIBE_OPERATION = (
    update(operations).where(_held).values(description=bindparam("description", type_=Text))
)
# Whose job got lost, or was never written because the replica that recorded it is older.
_jobs = table("procrastinate_jobs", column("queueing_lock"), schema=QUEUE_SCHEMA)
DEFER_MISSING = select(_functions.defer_takeover(operations.c.id, func.clock_timestamp())).where(
    _in_progress,
    operations.c.lease_until < func.clock_timestamp() - bindparam("after", type_=Interval),
    ~exists().where(_jobs.c.queueing_lock == cast(operations.c.id, Text)),
)
TAKE_OVER = (
    update(operations)
    .where(
        operations.c.id == bindparam("key_id"),
        _in_progress,
        operations.c.lease_until < func.clock_timestamp(),
    )
    .values(lease_token=bindparam("lease_token"), lease_until=_lease_end)
    .returning(operations)
)
_finished = (
    update(operations).where(_held).values(_outcome).returning(operations.c.id).cte("finished")
)
FINISH_OPERATION = select(_transaction, _functions.forget_takeover(_finished.c.id))


def _finishing(of: Table, change: Update | Delete) -> Select[Any]:
    """Finish an operation and change its subject with it, in one round trip.

    The subject is locked first, as by everybody who halts what is in progress on it.
    """
    subject = select(true()).select_from(of).where(_whole_key(of)).with_for_update().cte("subject")
    finished = (
        update(operations)
        .where(_held, exists(select(subject)))
        .values(_outcome)
        .returning(operations.c.id)
        .cte("finished")
    )
    changed = change.where(_whole_key(of), exists(select(finished))).returning(true())
    forgotten = _functions.forget_takeover(finished.c.id)
    return select(_transaction, forgotten).add_cte(changed.cte("changed"))


FINISH_INSTANCE = _finishing(instances, update(instances).values(_status))
FINISH_BINDING = _finishing(bindings, update(bindings).values(_status))
FINISH_WITHOUT_INSTANCE = _finishing(instances, delete(instances))
FINISH_WITHOUT_BINDING = _finishing(bindings, delete(bindings))
# Whoever holds the lease of what is halted notices under the lock of the database, with its next
# heartbeat, or when it finishes.
_halted = (
    update(operations)
    .where((operations.c.id == bindparam("key_id")) & _in_progress)
    .values(_outcome)
    .returning(operations.c.id)
    .cte("halted")
)
HALT_OPERATION = select(_transaction, _functions.forget_takeover(_halted.c.id))
# In portions: a long transaction would hold back vacuum, and may run into the statement timeout.
FORGET_OPERATIONS = delete(operations).where(
    operations.c.id.in_(
        select(operations.c.id)
        .where(
            operations.c.finished_at < func.clock_timestamp() - bindparam("after", type_=Interval)
        )
        .order_by(operations.c.finished_at)
        .limit(10_000)
    )
)

# The state database itself

READ_REVISION = select(table("alembic_version", column("version_num"), schema=SCHEMA))
ADD_PROOFS = insert_unless(encryption_keys).on_conflict_do_nothing()
READ_FATE = select(func.pg_xact_status(cast(bindparam("transaction", type_=Text), _TransactionId)))
