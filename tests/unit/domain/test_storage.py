"""When a database may be written to."""

from __future__ import annotations

from datetime import timedelta

import pytest

from broker.domain.storage import StorageState, StorageUse, next_state, notice
from tests.unit.domain.examples import NOW

WITHIN, FULL, RELEASING = StorageState


@pytest.mark.parametrize(
    ("state", "used", "limit", "expected"),
    [
        (WITHIN, 1000, 1000, WITHIN),
        (WITHIN, 1001, 1000, FULL),
        (WITHIN, 10**12, None, WITHIN),
        (FULL, 1001, 1000, FULL),
        (FULL, 950, 1000, FULL),
        (FULL, 949, 1000, RELEASING),
        (FULL, 1001, 2000, RELEASING),
        (FULL, 1001, None, RELEASING),
        (RELEASING, 1000, 1000, RELEASING),
        (RELEASING, 1001, 1000, FULL),
    ],
)
def test_what_follows_from_a_measurement(
    state: StorageState, used: int, limit: int | None, expected: StorageState
) -> None:
    """Over the limit is full; writes come back well below it, or with a larger limit or none."""
    assert next_state(state, StorageUse(used, NOW), limit=limit, now=NOW) is expected


@pytest.mark.parametrize(("seconds", "expected"), [(1, RELEASING), (0, FULL), (-1, FULL)])
def test_an_operators_leave_ends(seconds: int, expected: StorageState) -> None:
    """Until the moment it ends, leave to write counts for more than the limit."""
    use = StorageUse(2000, NOW, writes_allowed_until=NOW + timedelta(seconds=seconds))
    assert next_state(FULL, use, limit=1000, now=NOW) is expected


def test_the_notice_says_how_much_and_what_to_do() -> None:
    """The user learns what is occupied, what is allowed, and both ways out."""
    text = notice(StorageUse(2_000_000, NOW), limit=1_000_000)
    for part in ("2,000,000 bytes", "1,000,000 bytes", "read-only", "larger plan", "operator"):
        assert part in text
