"""Ending ``pgbroker serve``: one signal, and an impatient second one."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.process import PATIENCE, free_port, read_until, started_program

if TYPE_CHECKING:
    from collections.abc import Mapping


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT] * 2, [signal.SIGTERM] * 3])
def test_it_ends_quietly(with_all_plans: Mapping[str, str], signals: list[signal.Signals]) -> None:
    """However often it is told to stop, it puts everything away, says so, and nothing else."""
    address = {"PGBROKER_BIND": f"127.0.0.1:{free_port()}"}
    with started_program("serve", environ=dict(with_all_plans) | address) as process:
        read_until(process, '"listening"')
        for number in signals:
            process.send_signal(number)
        written, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, written
    assert "Traceback" not in written
    assert '"stopped"' in written
