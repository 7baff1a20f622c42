"""The warm stock: databases made before anybody asked for them.

Belongs here: what a database of the stock is, which requests it suits, and what is to be made or
released. Pure decisions; who makes and drops is ``broker/operations/warm.py``.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from broker.domain.database import DatabaseOptions
from broker.domain.instance import InstanceKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from broker.domain.catalog import Plan
    from broker.domain.parameters import InstanceParameters

PLATFORM = ""
"""The platform in the tag of a database of the stock: no platform can be configured so."""

LAYOUT = 1
"""What a new database of this version of the code looks like; raised whenever that changes."""

LEFT_AFTER = timedelta(seconds=30)
"""After which time a database that is still being made may have been left behind by a crash.

Nobody is hurt when it was not: whoever clears it away waits for the lock of the database.
"""

RELEASED_AFTER = timedelta(minutes=10)
"""How long a database stays that this process does not want.

Another one may: while keys or catalogs are being rolled out, replicas make theirs differently.
"""


class WarmState(StrEnum):
    """Where a database of the stock is.

    ::

        MAKING ──> READY ──> CLAIMED ──> (row removed: it says whose it is)
           │        ├──> (row removed: claimed by an instance that is still being made)
           └────────┴──> RELEASING ──> (row removed: dropped)
    """

    MAKING = "making"
    READY = "ready"
    CLAIMED = "claimed"
    """A finished instance has it; its comment is still that of the stock."""
    RELEASING = "releasing"


@dataclass(frozen=True, slots=True)
class WarmDatabase:
    """A database of the stock.

    Attributes:
        database: Its name, and its read-only group role's.
        server: The server it is on.
        service_id: The offering of its plan.
        plan_id: Its plan.
        fingerprint: What it was made like, see ``fingerprint``.
        tag: What ``COMMENT ON`` it and its roles says.
        state: Where it is.
        age: How long ago it was begun.
    """

    database: str
    server: str
    service_id: str
    plan_id: str
    fingerprint: str
    tag: str
    state: WarmState = WarmState.MAKING
    age: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Location:
    """Where the database of a new instance is, or will be.

    Attributes:
        server: The server it is on.
        database: Its name.
    """

    server: str
    database: str


ANYWHERE = Location(server="", database="")
"""Of an instance that is about to get a database of the stock, whichever that is."""


def warm_key(database: str) -> InstanceKey:
    """Return what the tag of a database of the stock is made of."""
    return InstanceKey(PLATFORM, database)


def is_warm(key: InstanceKey) -> bool:
    """Tell whether a tag is that of a database of the stock."""
    return key.platform == PLATFORM


def fingerprint(plan: Plan, tag_key_id: str) -> str:
    """Return what distinguishes databases that were made differently.

    Args:
        plan: For what is set on the database itself.
        tag_key_id: The key of its tag: an instance that takes it has its tags of the same key.
    """
    limits = plan.limits
    made_of = [
        LAYOUT,
        tag_key_id,
        plan.id,
        limits.connections,
        *map(_seconds, (limits.statement_timeout, limits.idle_in_transaction_session_timeout)),
        limits.temp_file_limit,
        plan.extensions.default,
    ]
    return hashlib.sha256(json.dumps(made_of).encode()).hexdigest()


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def suits(parameters: InstanceParameters) -> bool:
    """Tell whether a database of the stock can be what a request asks for.

    Extensions can be added to it; what is fixed by ``CREATE DATABASE`` cannot be changed, but
    checksums are the server's.
    """
    options = replace(parameters.options, data_checksums=False)
    return options == DatabaseOptions() and parameters.restore_from is None


def missing(stock: Sequence[WarmDatabase], plan: Plan, *, server: str, fingerprint: str) -> bool:
    """Tell whether a server should get one more database of a plan now.

    One is made at a time, whoever makes it.

    Args:
        stock: All there is.
        plan: Says how many there should be.
        server: The server's name.
        fingerprint: The plan's, as it is now.
    """
    here = [warm for warm in stock if warm.server == server]
    if any(warm.state is WarmState.MAKING for warm in here):
        return False
    ready = [
        warm for warm in here if warm.state is WarmState.READY and warm.fingerprint == fingerprint
    ]
    return len(ready) < plan.warm


def superfluous(
    stock: Iterable[WarmDatabase], wanted: Mapping[tuple[str, str], int]
) -> Iterator[WarmDatabase]:
    """Yield the ready databases that no plan wants where they are, or that are too many.

    Whoever is to release them leaves those of the last ``RELEASED_AFTER`` to other replicas.

    Args:
        stock: All there is, the oldest first: those stay.
        wanted: How many there should be, by server and fingerprint.
    """
    kept: Counter[tuple[str, str]] = Counter()
    for warm in stock:
        if warm.state is WarmState.READY:
            kept[warm.server, warm.fingerprint] += 1
            place = (warm.server, warm.fingerprint)
            if kept[place] > wanted.get(place, 0):
                yield warm


def fewest(
    stock: Iterable[WarmDatabase], enough: Callable[[str, Sequence[WarmDatabase]], bool]
) -> Sequence[WarmDatabase]:
    """Return the fewest databases of one server without which it would have room.

    Args:
        stock: All there is. What is being made, or is an instance's, is not touched; what is being
            dropped comes first.
        enough: Tells whether a server has room without some of its databases.
    """
    by_server: dict[str, list[WarmDatabase]] = {}
    for warm in sorted(stock, key=lambda warm: warm.state is not WarmState.RELEASING):
        if warm.state in {WarmState.READY, WarmState.RELEASING}:
            by_server.setdefault(warm.server, []).append(warm)
    found = [
        next((here[:n] for n in range(1, len(here) + 1) if enough(server, here[:n])), [])
        for server, here in by_server.items()
    ]
    return min(filter(None, found), key=len, default=[])


def left_behind(stock: Iterable[WarmDatabase]) -> Iterator[WarmDatabase]:
    """Yield what has to be dropped: released, or perhaps left by a process that died making it."""
    for warm in stock:
        if warm.state is WarmState.RELEASING or (
            warm.state is WarmState.MAKING and warm.age > LEFT_AFTER
        ):
            yield warm
