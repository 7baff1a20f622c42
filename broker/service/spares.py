"""Spare databases that no record knows: what a stock leaves behind when the state is lost.

They say that they are nobody's, and nobody gets credentials for a database before it says whose it
is (decision record 55), so they have never been used and can be dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from broker.domain.database import DatabaseSpec
from broker.domain.errors import BrokerError
from broker.domain.names import owner_name
from broker.service.reconcile_database import InProgress
from broker.service.reconcile_strangers import find_strangers
from broker.service.specs import NO_LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from broker.service.ports import DatabaseSession, Engine, Store, Tags
    from broker.service.reconcile_strangers import Suspect


@dataclass(slots=True)
class SparesReport:
    """What became of the spare databases that no record knew.

    Attributes:
        dropped: Server and name of each that is gone.
        left: Why one is still there, by server and name; an empty name is the whole server.
    """

    dropped: list[tuple[str, str]] = field(default_factory=list)
    left: dict[tuple[str, str], str] = field(default_factory=dict)


async def drop_unknown_spares(
    store: Store, engines: Mapping[str, Engine], tags: Tags
) -> SparesReport:
    """Drop the spare databases that no record knows, each under its lock, where its tag is proved.

    Args:
        store: The state, which is asked again under the lock.
        engines: Of the servers to look at, by name.
        tags: Opens the comments; of a key that is missing, nothing is dropped.

    Raises:
        StateUnavailable: The state database cannot be reached.
    """
    report = SparesReport()
    for server, engine in engines.items():
        try:
            inventory = await engine.inventory()
        except BrokerError as exc:
            report.left[server, ""] = exc.description
            continue
        strangers = await find_strangers(inventory, set(), tags=tags, store=store)
        for suspect in strangers.suspects:
            if suspect.is_spare:
                await _drop(server, engine, suspect, report)
    return report


async def _drop(server: str, engine: Engine, spare: Suspect, report: SparesReport) -> None:
    spec = DatabaseSpec(spare.name, owner_name(spare.name), spare.tag, NO_LIMITS)

    async def drop(session: DatabaseSession) -> None:
        await session.drop_database(spec, ())

    try:
        await engine.exclusively(spare.name, drop, confirm=spare.confirm)
    except InProgress:
        report.left[server, spare.name] = "It is known by now."
    except BrokerError as exc:
        report.left[server, spare.name] = exc.description
    else:
        report.dropped.append((server, spare.name))
