"""A seed replays a random run: what is done does not depend on how long anything takes."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

import httpx

from tests.chaos import client as chaos
from tests.chaos.client import Client
from tests.chaos.faults import Injector
from tests.support.faults_platform import PatientPlatform

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

    from tests.support.faults_replica import Replica
    from tests.support.faults_servers import OwnServer

ACTIONS = 150
FAULTS = 100


class Recorder:
    """Answers every request with what a broker would, and remembers them.

    Each time it is asked, it draws from what the platform chooses replicas and pauses with.

    Args:
        late: How many requests in a row are not answered the first time.
    """

    def __init__(self, late: int) -> None:
        self.requests: list[tuple[str, str, Any]] = []
        self._late = late
        self._asked: dict[tuple[str, str], int] = {}
        self._plans: dict[str, str] = {}

    async def once(
        self,
        platform: PatientPlatform,
        method: str,
        where: str,
        *,
        json: dict[str, Any] | None = None,
        **_: Any,
    ) -> httpx.Response | None:
        """Answer, or be silent."""
        await asyncio.sleep(0)
        platform.rng.random()
        self._asked[method, where] = self._asked.get((method, where), 0) + 1
        if self._asked[method, where] <= self._late:
            return None
        instance = where.split("/")[3]
        self._plans[instance] = (json or {}).get("plan_id", self._plans.get(instance, ""))
        body = {"plan_id": self._plans[instance], "credentials": {"username": where}}
        return httpx.Response(200, json=body, request=httpx.Request(method, f"http://x{where}"))

    async def settled(
        self, platform: PatientPlatform, method: str, where: str, **asked: Any
    ) -> httpx.Response:
        """Ask until there is an answer."""
        self.requests.append((method, where, asked.get("json")))
        while (answer := await self.once(platform, method, where, **asked)) is None:
            pass
        return answer


def _of_platform(answer: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Return a method of a platform that has somebody else answer."""

    def method(platform: PatientPlatform, *asked: Any, **more: Any) -> Awaitable[Any]:
        return answer(platform, *asked, **more)

    return method


async def _done(monkeypatch: pytest.MonkeyPatch, seed: str, *, late: int) -> Any:
    """Return what a client asks for in so many actions."""
    recorder = Recorder(late)

    async def done(*_: Any) -> bool:
        return True

    async def refused(_: dict[str, Any]) -> bool:
        return False

    async def until(condition: Callable[[], Awaitable[bool]], **_: Any) -> None:
        while not await condition():
            pass

    async def memory(credentials: dict[str, Any]) -> str:
        word: str = client._memories[credentials["username"].split("/")[3]]  # noqa: SLF001
        return word

    stubs = {"until": until, "_memory": memory, "_remember": done, "logs_in": refused}
    for name, stub in stubs.items():
        monkeypatch.setattr(chaos, name, stub)
    monkeypatch.setattr(Client, "_look_at_login", done)
    for name in ("once", "settled"):
        monkeypatch.setattr(PatientPlatform, name, _of_platform(getattr(recorder, name)))
    client = Client("client 1", seed, (), asynchronous=True)
    for _ in range(ACTIONS):
        await client.act()
    await client.leave()
    return recorder.requests


async def test_a_seed_replays_what_a_client_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it has to ask, it asks for the same things in the same order."""
    first = await _done(monkeypatch, "one", late=0)
    assert len(first) > ACTIONS
    assert await _done(monkeypatch, "one", late=2) == first
    assert await _done(monkeypatch, "two", late=0) != first


def _scheduled(seed: str, *, drawn: int) -> list[tuple[str, float, float]]:
    """Return which faults are to happen, how the first choice of each falls, and the pauses.

    Args:
        seed: Decides it.
        drawn: How many choices each fault makes before the next one comes.
    """
    replica, server = cast("Replica", None), cast("OwnServer", None)
    injector = Injector(seed, (replica, replica), server, server, {})
    scheduled = []
    for due in islice(injector.schedule(), FAULTS):
        choices = [due.rng.random() for _ in range(drawn)]
        scheduled.append((due.fault.name, choices[0], due.pause))
    return scheduled


def test_a_seed_replays_which_faults_come() -> None:
    """Whatever a fault finds and chooses, the same ones come after it, after the same pauses."""
    first = _scheduled("one", drawn=1)
    assert len({name for name, _, _ in first}) > 1
    assert _scheduled("one", drawn=5) == first
    assert _scheduled("two", drawn=1) != first
