"""How much there is, and how much is under way: what metrics tell of the state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Figures:
    """The state in numbers.

    Attributes:
        operations: How many operations are in progress, by kind.
        oldest: For how many seconds the oldest of them has been, by kind.
        instances: How many instances there are, by status and by what their storage allows.
        bindings: How many bindings, by status.
        stock: How many databases of the warm stock, by state.
    """

    operations: Mapping[str, int]
    oldest: Mapping[str, float]
    instances: Mapping[tuple[str, str], int]
    bindings: Mapping[str, int]
    stock: Mapping[str, int]
