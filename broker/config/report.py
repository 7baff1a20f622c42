"""What ``pgbroker catalog check`` says.

Belongs here: a catalog, and a configuration's problems, for a terminal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from broker.config.catalog import load_catalog
from broker.config.problems import ConfigurationError
from broker.config.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta
    from pathlib import Path

    from rich.console import Console

    from broker.domain.catalog import Catalog, Offering, Plan

_UNLIMITED = "no limit"


def check_catalog(path: Path, console: Console) -> bool:
    """Read a catalog file and print what it offers, or what is wrong with it.

    Args:
        path: The file.
        console: Where to print.

    Returns:
        Whether the broker can use the file.
    """
    try:
        catalog = load_catalog(path)
    except ConfigurationError as exc:
        print_problems(exc, console)
        return False
    for offering in catalog.offerings:
        console.print(offering_table(offering))
    console.print(Text(_summary(catalog, path)))
    return True


def print_problems(error: ConfigurationError, console: Console) -> None:
    """Print every problem on a line of its own, never wrapped: editors parse ``file:line``."""
    console.print(Text(str(error)), soft_wrap=True)


def offering_table(offering: Offering) -> Table:
    """Return a table of an offering's plans, with what the broker does for each."""
    table = Table(title=Text(f"{offering.name}: {offering.description}"), title_justify="left")
    table.add_column("")
    for plan in offering.plans:
        table.add_column(Text(plan.name, style="bold"))
    rows = [_cells(plan) for plan in offering.plans]
    for label in rows[0]:
        table.add_row(label, *(Text(cells[label]) for cells in rows))
    return table


def _cells(plan: Plan) -> dict[str, str]:
    limits, bindings = plan.limits, plan.bindings
    storage, temporary = limits.storage, limits.temp_file_limit
    return {
        "cost": "free" if plan.free else "paid",
        "version": plan.maintenance_info.version if plan.maintenance_info else "none",
        "servers": ", ".join((f"{plan.provider}, pool {plan.pool}", *_labels(plan))),
        "connections": f"{limits.connections}, {limits.connections_per_binding} a binding",
        "storage": _UNLIMITED if storage is None else format_size(storage),
        "temporary files": _UNLIMITED if temporary is None else format_size(temporary),
        "statements": _time(limits.statement_timeout),
        "idle transactions": _time(limits.idle_in_transaction_session_timeout),
        "extensions": f"{len(plan.extensions.allowed)} allowed, "
        f"{', '.join(plan.extensions.default) or 'none'} by default",
        "roles": ", ".join(
            f"{name} (default)" if name == bindings.default_role else name
            for name in bindings.roles
        )
        if plan.bindable
        else "not bindable",
        "credentials": f"valid for {format_duration(bindings.time_to_live)}"
        if bindings.time_to_live
        else "valid until unbind",
        "deleted databases": "dropped at once"
        if plan.deleted_retention is None
        else f"kept for {format_duration(plan.deleted_retention)}",
        "update to": ", ".join(plan.update_to) or "no other plan",
    }


def _labels(plan: Plan) -> Iterator[str]:
    return (f"{name}={value}" for name, value in plan.server_labels.items())


def _time(limit: timedelta | None) -> str:
    return _UNLIMITED if limit is None else format_duration(limit)


def _summary(catalog: Catalog, path: Path) -> str:
    offerings = len(catalog.offerings)
    plans = sum(len(offering.plans) for offering in catalog.offerings)
    return (
        f"{path} is good: {offerings} offering{'s' * (offerings != 1)}, "
        f"{plans} plan{'s' * (plans != 1)}."
    )
