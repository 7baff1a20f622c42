"""The state in numbers, for metrics, in one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import Double, Text, cast, func, literal, select, union_all

from broker.domain.figures import Figures
from broker.domain.operation import OperationState
from broker.store.tables import bindings, instances, operations, warm_databases

if TYPE_CHECKING:
    from broker.store.execution import Execute

_none = literal("", Text)
_no_age = literal(0.0, Double)
_age = cast(
    func.extract("epoch", func.max(func.clock_timestamp() - operations.c.started_at)), Double
)
_FIGURES = union_all(
    select(
        literal("operations", Text).label("of"),
        operations.c.kind.label("one"),
        _none.label("other"),
        func.count().label("total"),
        _age.label("age"),
    )
    .where(operations.c.state == OperationState.IN_PROGRESS.value)
    .group_by(operations.c.kind),
    select(
        literal("instances", Text),
        instances.c.status,
        instances.c.storage,
        func.count(),
        _no_age,
    ).group_by(instances.c.status, instances.c.storage),
    select(literal("bindings", Text), bindings.c.status, _none, func.count(), _no_age).group_by(
        bindings.c.status
    ),
    select(literal("stock", Text), warm_databases.c.state, _none, func.count(), _no_age).group_by(
        warm_databases.c.state
    ),
)


class FigureRecords:
    """Counts what there is.

    Args:
        execute: Runs a statement on its own.
    """

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    async def read(self) -> Figures:
        """Read the figures, as they are at this moment."""
        rows = list(await self._execute(_FIGURES))
        return Figures(
            operations={row.one: row.total for row in rows if row.of == "operations"},
            oldest={row.one: row.age for row in rows if row.of == "operations"},
            instances={(row.one, row.other): row.total for row in rows if row.of == "instances"},
            bindings={row.one: row.total for row in rows if row.of == "bindings"},
            stock={row.one: row.total for row in rows if row.of == "stock"},
        )
