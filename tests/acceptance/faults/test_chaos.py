"""Random faults against random work, for a short time; `make chaos` takes as long as asked."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from tests.chaos.report import table
from tests.chaos.run import run

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 15.0

SEED_VARIABLE = "PGBROKER_TEST_CHAOS_SEED"
"""Environment variable: the seed of a run that is to be replayed."""


async def test_state_catalogs_and_clients_agree_after_chaos(servers: Path) -> None:
    """Two replicas, eight clients, kills, freezes and stops at random: in the end all agrees."""
    seed = os.environ.get(SEED_VARIABLE) or secrets.token_hex(4)
    print(f"seed {seed}")  # noqa: T201 -- pytest shows it when the run is interrupted
    result = await run(seed, SECONDS, servers, tell=print)
    assert not result.violations, table(result)
    assert result.work.total(), table(result)
    assert result.faults.total(), table(result)
