"""A replica with the wrong encryption key, or without one that is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.domain.operation import OperationKind
from tests.acceptance.faults.requests import Request
from tests.support.application import new_key
from tests.support.faults_platform import CREATED
from tests.support.process import free_port, run_program

if TYPE_CHECKING:
    from tests.support.faults_fleet import Fleet


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        (new_key("test"), "not the ones this state database was used with"),
        (new_key("new"), "are not configured: test"),
    ],
    ids=["wrong", "missing"],
)
async def test_a_replica_without_the_right_key_refuses_to_start(
    fleet: Fleet, keys: str, reason: str
) -> None:
    """It ends at once, names the id of the key, shows no key, and has changed nothing."""
    async with fleet.platform() as platform:
        request = await Request.prepared(platform, OperationKind.BIND)
        assert (await request.settled(platform)).status_code in CREATED
        refused = run_program(
            "serve",
            environ={
                **fleet.environ,
                "PGBROKER_ENCRYPTION_KEYS": keys,
                "PGBROKER_BIND": f"127.0.0.1:{free_port()}",
            },
        )
        said = refused.stdout + refused.stderr
        assert refused.returncode == 1, said
        assert reason in said
        assert "test" in said
        assert keys.partition(":")[2] not in said
    await fleet.agrees()
