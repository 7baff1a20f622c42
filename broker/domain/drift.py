"""Drift: where a server is not what the broker's state says, and what is done about each kind.

======================= ========== ==============================================================
kind                    treatment  what it is
======================= ========== ==============================================================
``limits``              repair     a connection limit or timeout is not the plan's
``grants``              repair     somebody may connect who must not, or must and may not
``membership``          repair     a role is not in the group it belongs to, or in another one
``login``               repair     a login's limit, expiry or setting is not the binding's
``reading``             repair     what the owner makes is not readable for read-only bindings
``comment``             repair     a tag or record is missing or out of date
``half_dropped``        repair     a DROP DATABASE was interrupted; nobody can connect any more
``quarantined``         repair     closed by quarantine, and known by now
``unknown_database``    quarantine our tag, and no instance has it
``unknown_login``       quarantine our tag, and no binding has it
``unknown_role``        alarm      our tag, and neither a database nor an instance has it
``database_missing``    alarm      an instance is ready, or its data kept, and its database is gone
``role_missing``        alarm      a role of an instance or binding that is ready is not there
``closed``              alarm      somebody closed a database or login, and it was not the broker
``foreign``             alarm      a database or role of ours by name is, or says it is, another's
``privileged``          alarm      a role has an attribute or a predefined role it was not given
``outdated_state``      alarm      the server says that an instance has had another plan since
``unfinished``          alarm      making or deleting it failed, and nobody has asked for it again
``lost_state``          alarm      more is unknown than known: the state is the one that is wrong
======================= ========== ==============================================================

An alarm is for a person: a missing database is never created again empty, and what somebody closed
is not opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Treatment(StrEnum):
    """What the broker does about drift by itself."""

    REPAIR = "repair"
    QUARANTINE = "quarantine"
    ALARM = "alarm"


class DriftKind(StrEnum):
    """What is not as it should be; see the module."""

    LIMITS = "limits"
    GRANTS = "grants"
    MEMBERSHIP = "membership"
    LOGIN = "login"
    READING = "reading"
    COMMENT = "comment"
    HALF_DROPPED = "half_dropped"
    QUARANTINED = "quarantined"
    UNKNOWN_DATABASE = "unknown_database"
    UNKNOWN_LOGIN = "unknown_login"
    UNKNOWN_ROLE = "unknown_role"
    DATABASE_MISSING = "database_missing"
    ROLE_MISSING = "role_missing"
    CLOSED = "closed"
    FOREIGN = "foreign"
    PRIVILEGED = "privileged"
    OUTDATED_STATE = "outdated_state"
    UNFINISHED = "unfinished"
    LOST_STATE = "lost_state"

    @property
    def treatment(self) -> Treatment:
        """What the broker does about it."""
        return _TREATMENTS.get(self, Treatment.ALARM)


_TREATMENTS = {
    DriftKind.UNKNOWN_DATABASE: Treatment.QUARANTINE,
    DriftKind.UNKNOWN_LOGIN: Treatment.QUARANTINE,
    **dict.fromkeys(
        (
            DriftKind.LIMITS,
            DriftKind.GRANTS,
            DriftKind.MEMBERSHIP,
            DriftKind.LOGIN,
            DriftKind.READING,
            DriftKind.COMMENT,
            DriftKind.HALF_DROPPED,
            DriftKind.QUARANTINED,
        ),
        Treatment.REPAIR,
    ),
}


@dataclass(frozen=True, slots=True)
class Deviation:
    """One thing on a server that is not as it should be.

    Attributes:
        kind: What kind of thing.
        subject: The database or role.
        detail: What is there and what should be, for the operator.
    """

    kind: DriftKind
    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Drift:
    """A deviation, where it is, and what has become of it.

    Attributes:
        server: The server's name.
        database: The database it belongs to.
        deviation: What is wrong.
        platform: Whose instance it is, as far as that is known.
        instance_id: Likewise.
        resolved: Whether it has been repaired or quarantined.
    """

    server: str
    database: str
    deviation: Deviation
    platform: str | None = None
    instance_id: str | None = None
    resolved: bool = False
