"""What ``pgbroker servers`` prints: tables for people, plain data for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from broker.bootstrap.capacity import Drain, Survey

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def survey_table(surveys: Sequence[Survey]) -> Table:
    """Return a line for each server: its use against its capacity, and its state."""
    table = Table(
        *("server", "pool", "databases", "connections", "storage", "PostgreSQL", "state", "labels"),
        box=None,
        pad_edge=False,
    )
    for survey in surveys:
        server = survey.server
        use, capacity = server.use, server.capacity
        table.add_row(
            server.name,
            survey.pool or "",
            _share(use.databases, capacity.databases),
            _share(use.connections, capacity.connections),
            _share(use.storage, capacity.storage, show=_size),
            survey.vitals.version if survey.vitals else "",
            _state(survey),
            ", ".join(f"{name}={value}" for name, value in server.labels.items()),
        )
    return table


def survey_data(surveys: Sequence[Survey]) -> list[dict[str, Any]]:
    """Return the same for a program; sizes are bytes, ``null`` is no limit."""
    return [
        {
            "name": survey.server.name,
            "pool": survey.pool,
            "labels": dict(survey.server.labels),
            "use": asdict(survey.server.use),
            "capacity": asdict(survey.server.capacity),
            "reachable": survey.server.reachable,
            "unreachable_because": survey.unreachable_because,
            "version": survey.vitals.version if survey.vitals else None,
            "connection_slots": survey.vitals.connection_slots if survey.vitals else None,
            "cordoned": survey.cordon is not None,
            "cordoned_since": survey.cordon.since.isoformat() if survey.cordon else None,
            "cordon_reason": survey.cordon.reason if survey.cordon else None,
        }
        for survey in surveys
    ]


def drain_table(drain: Drain) -> Table:
    """Return a line for each instance: what it takes and where it would go."""
    table = Table(
        *("platform", "instance", "plan", "size", "connections", "to", ""),
        box=None,
        pad_edge=False,
    )
    for move in drain.moves:
        resident = move.resident
        table.add_row(
            resident.instance.key.platform,
            f"{resident.instance.key.instance_id}{' (deleted)' if resident.deleted else ''}",
            resident.plan.name if resident.plan else resident.instance.plan_id,
            "unknown" if resident.size is None else _size(resident.size),
            str(resident.demand.connections),
            Text(move.target) if move.target else Text("nowhere", style="red"),
            Text(move.reason or ""),
        )
    return table


def drain_data(drain: Drain) -> dict[str, Any]:
    """Return the same for a program; sizes are bytes."""
    return {
        "server": drain.server,
        "fits": drain.fits,
        "moves": [
            {
                "platform": move.resident.instance.key.platform,
                "instance_id": move.resident.instance.key.instance_id,
                "plan_id": move.resident.instance.plan_id,
                "deleted": move.resident.deleted,
                "database": move.resident.instance.database,
                "size": move.resident.size,
                "takes": asdict(move.resident.demand),
                "to": move.target,
                "reason": move.reason,
            }
            for move in drain.moves
        ],
        "added": {name: asdict(use) for name, use in drain.added.items()},
    }


def drain_summary(drain: Drain) -> str:
    """Return what the table comes to."""
    if not drain.moves:
        return f"The server {drain.server} holds no instances."
    left = sum(move.target is None for move in drain.moves)
    if left:
        return f"{left} of {len(drain.moves)} instances fit on no other server."
    return f"All {len(drain.moves)} instances fit on other servers. Nothing has been moved."


def _share(taken: int, limit: int | None, *, show: Any = str) -> str:
    return show(taken) if limit is None else f"{show(taken)} / {show(limit)}"


def _size(size: float) -> str:
    for unit in _UNITS[:-1]:
        if size < 1024:  # noqa: PLR2004 - what the units mean
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.4g} {_UNITS[-1]}"


def _state(survey: Survey) -> Text:
    if survey.pool is None:
        return Text("not in the servers file", style="red")
    parts = [
        Text("reachable", style="green")
        if survey.server.reachable
        else Text(f"unreachable ({survey.unreachable_because or 'unknown'})", style="red")
    ]
    if survey.cordon is not None:
        reason = f" ({survey.cordon.reason})" if survey.cordon.reason else ""
        parts.append(Text(f"cordoned{reason}", style="yellow"))
    return Text(", ").join(parts)
