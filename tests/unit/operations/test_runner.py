"""What the runner tells the log of an operation that is held up."""

from __future__ import annotations

import itertools
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from broker.domain.errors import TemporaryFailure
from broker.domain.operation import OperationKind, OperationState, Work
from broker.operations import runner
from broker.operations.patience import TELL_EVERY
from broker.operations.runner import OperationRunner
from tests.unit.domain import examples
from tests.unit.operations.test_steps import CATALOG, TAGS

if TYPE_CHECKING:
    import pytest

FOREVER = timedelta(days=1)


class _Held:
    """A store in which everything is ours."""

    async def holds_lease(self, _operation: object) -> bool:
        return True

    async def finish(self, *_end: object) -> bool:
        return True

    async def describe(self, *_what: object) -> None: ...


class _Down:
    """Servers, and an engine, that are down for some attempts, each as long as ``seconds``."""

    def __init__(self, clock: list[float], attempts: int, seconds: float) -> None:
        self._clock = clock
        self._left = attempts
        self._seconds = seconds

    def engine(self, _server: str) -> _Down:
        return self

    async def exclusively(self, *_work: Any, **_confirm: Any) -> None:
        self._clock[0] += self._seconds
        self._left -= 1
        if self._left >= 0:
            raise TemporaryFailure("It is down.")


async def test_one_that_waits_is_told_about_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """On-call reads what waits for which server, whose it is, and is not flooded with it."""
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(runner, "pauses", lambda _limit: itertools.repeat(0.0))
    down: Any = _Down(clock, attempts=100, seconds=TELL_EVERY / 40)
    held: Any = _Held()
    work = Work(examples.an_operation(OperationKind.PROVISION), examples.INSTANCE)
    carrying_out = OperationRunner(
        store=held,
        servers=down,
        catalog=CATALOG,
        tags=TAGS,
        lease=FOREVER,
        retry_for=FOREVER,
        go_on_for=FOREVER,
    )
    with capture_logs() as logs:
        ended = await carrying_out.run(work, window=FOREVER, patient=True)
    assert ended.state is OperationState.SUCCEEDED
    told = [line for line in logs if line["event"] == "operation will be tried again"]
    assert [line["attempts"] for line in told] == [1, 41, 81]
    assert (
        told[0].items()
        >= {
            "kind": "provision",
            "platform": examples.KEY.platform,
            "instance": examples.KEY.instance_id,
            "server": examples.INSTANCE.server,
            "reason": "It is down.",
        }.items()
    )
