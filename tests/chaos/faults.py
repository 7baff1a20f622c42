"""The faults: what happens to replicas and servers, and how it is put right again."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import OperationalError

from broker.embedded import StopMode
from tests.support.faults_replica import LEASE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from random import Random
    from typing import LiteralString

    from tests.support.faults_replica import Replica
    from tests.support.faults_servers import OwnServer

PAUSES = 0.2, 2.0
"""Seconds between two faults, at least and at most."""

END_SESSIONS: LiteralString = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pgbroker%'"
)
BACKENDS: LiteralString = (
    "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'pgbroker%' ORDER BY pid"
)


@dataclass(frozen=True, slots=True)
class _Fault:
    name: str
    happen: Callable[[], Coroutine[None, None, None]]


class Injector:
    """Lets faults happen at random, on each part of the system one at a time.

    Args:
        rng: Decides everything.
        replicas: Of the broker.
        tenants: The tenants' server.
        state: The state's server.
    """

    def __init__(
        self, rng: Random, replicas: Sequence[Replica], tenants: OwnServer, state: OwnServer
    ) -> None:
        self.happened: Counter[str] = Counter()
        self._rng = rng
        self._parts = [
            *(self._of_replica(replica) for replica in replicas),
            self._of_server("tenants' server", tenants),
            self._of_server("state's server", state),
        ]
        # A server that is down stops everybody; a replica that is down stops nobody for long.
        self._weights = [*(3 for _ in replicas), 1, 1]

    async def work(self, over: asyncio.Event) -> None:
        """Inject until it is over; afterwards all is put right."""
        busy: dict[int, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while not over.is_set():
                (number,) = self._rng.choices(range(len(self._parts)), self._weights)
                fault = self._rng.choice(self._parts[number])
                if number not in busy or busy[number].done():
                    self.happened[fault.name] += 1
                    busy[number] = group.create_task(fault.happen())
                pause = self._rng.uniform(*PAUSES)
                try:
                    await asyncio.wait_for(over.wait(), pause)
                except TimeoutError:
                    continue

    def _of_replica(self, replica: Replica) -> Sequence[_Fault]:
        async def kill() -> None:
            replica.kill()
            await self._for(0.0, 1.0)
            await replica.start(ready=False)

        async def freeze() -> None:
            replica.freeze()
            await self._for(0.1, 3.0 * LEASE)
            replica.thaw()

        async def restart() -> None:
            replica.ask_to_stop()
            await replica.stopped()
            await replica.start(ready=False)

        return (
            _Fault("replica killed", kill),
            _Fault("replica frozen", freeze),
            _Fault("replica restarted", restart),
        )

    def _of_server(self, name: str, server: OwnServer) -> Sequence[_Fault]:
        def stop(mode: StopMode) -> Callable[[], Coroutine[None, None, None]]:
            async def stop_and_start() -> None:
                await server.embedded.stop(mode)
                await self._for(0.0, 1.5)
                await server.embedded.start()

            return stop_and_start

        async def end_sessions() -> None:
            await self._ask(server, END_SESSIONS)

        async def kill_backend() -> None:
            # The main process ends all others then, and recovers.
            backends = await self._ask(server, BACKENDS)
            if backends:
                os.kill(self._rng.choice(backends), signal.SIGKILL)

        return (
            _Fault(f"{name} stopped", stop(StopMode.FAST)),
            _Fault(f"{name} stopped at once", stop(StopMode.IMMEDIATE)),
            _Fault(f"{name} killed", stop(StopMode.KILL)),
            _Fault(f"{name} ends sessions", end_sessions),
            _Fault(f"{name} loses a backend", kill_backend),
        )

    async def _ask(self, server: OwnServer, query: LiteralString) -> list[int]:
        try:
            async with await server.superuser() as superuser:
                return [number for (number,) in await (await superuser.execute(query)).fetchall()]
        except OperationalError:
            return []  # it still recovers from what happened before

    async def _for(self, least: float, most: float) -> None:
        await asyncio.sleep(self._rng.uniform(least, most))
