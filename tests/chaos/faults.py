"""The faults: what happens to replicas and servers, and how it is put right again.

Operators are among them: they run commands at any time.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from psycopg import OperationalError

from broker.domain.drift import DriftKind
from broker.embedded import StopMode
from tests.chaos.client import Violated, randomness
from tests.support.faults_replica import LEASE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
    from random import Random
    from typing import LiteralString

    from tests.support.faults_replica import Replica
    from tests.support.faults_servers import OwnServer

PAUSES = 0.2, 2.0
"""Seconds between two faults, at least and at most."""

END_SESSIONS: LiteralString = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'pgbroker%'"
)
COMMANDS = (
    ("reconcile", "--apply"),
    ("keys", "rotate"),
    ("servers", "rotate-admin", "shared"),
)
"""What operators run; each may find that something is away, and say so."""

NEVER_FOUND = (
    DriftKind.UNKNOWN_DATABASE,
    DriftKind.UNKNOWN_LOGIN,
    DriftKind.UNKNOWN_ROLE,
    DriftKind.PRIVILEGED,
    DriftKind.OUTDATED_STATE,
    DriftKind.LOST_STATE,
)
"""What reconciliation must not find, whatever happens while it looks."""

COMMAND_TIMEOUT = 120.0
"""Seconds that a command may take, whatever happens meanwhile."""

BACKENDS: LiteralString = (
    "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'pgbroker%' ORDER BY pid"
)


@dataclass(frozen=True, slots=True)
class _Fault:
    name: str
    happen: Callable[[Random], Coroutine[None, None, None]]


@dataclass(frozen=True, slots=True)
class Due:
    """A fault that is to come.

    Attributes:
        part: The number of the part of the system that it happens to.
        fault: What happens.
        rng: Decides how; of this fault alone.
        pause: Seconds until the next one.
    """

    part: int
    fault: _Fault
    rng: Random
    pause: float


class Injector:
    """Lets faults happen at random, on each part of the system one at a time.

    Which fault comes next and after which pause follows from the seed alone, and so does how long
    it lasts; one that would come while the part still suffers from the one before is left out.

    Args:
        seed: Decides everything.
        replicas: Of the broker.
        tenants: The tenants' server.
        state: The state's server.
        environ: What operators run commands with.
    """

    def __init__(
        self,
        seed: str,
        replicas: Sequence[Replica],
        tenants: OwnServer,
        state: OwnServer,
        environ: Mapping[str, str],
    ) -> None:
        self.happened: Counter[str] = Counter()
        self._seed = f"{seed}/faults"
        self._environ = environ
        self._parts = [
            *(self._of_replica(replica) for replica in replicas),
            self._of_server("tenants' server", tenants),
            self._of_server("state's server", state),
            tuple(_Fault(f"pgbroker {' '.join(c)}", self._command(*c)) for c in COMMANDS),
        ]
        # A server that is down stops everybody; a replica that is down stops nobody for long.
        self._weights = [*(3 for _ in replicas), 1, 1, 1]

    async def work(self, over: asyncio.Event) -> None:
        """Inject until it is over; afterwards all is put right."""
        busy: dict[int, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            for due in self.schedule():
                if over.is_set():
                    return
                if due.part not in busy or busy[due.part].done():
                    self.happened[due.fault.name] += 1
                    busy[due.part] = group.create_task(due.fault.happen(due.rng))
                with suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), due.pause)

    def schedule(self) -> Iterator[Due]:
        """Yield all faults that are to come, without end; what has happened changes nothing."""
        rng = randomness(self._seed)
        for begun in count(1):
            (part,) = rng.choices(range(len(self._parts)), self._weights)
            fault = rng.choice(self._parts[part])
            own = randomness(f"{self._seed}/{begun}")
            yield Due(part, fault, own, rng.uniform(*PAUSES))

    def _of_replica(self, replica: Replica) -> Sequence[_Fault]:
        async def kill(rng: Random) -> None:
            replica.kill()
            await _for(rng, 0.0, 1.0)
            await replica.start(ready=False)

        async def freeze(rng: Random) -> None:
            replica.freeze()
            await _for(rng, 0.1, 3.0 * LEASE)
            replica.thaw()

        async def restart(_rng: Random) -> None:
            replica.ask_to_stop()
            await replica.stopped()
            await replica.start(ready=False)

        return (
            _Fault("replica killed", kill),
            _Fault("replica frozen", freeze),
            _Fault("replica restarted", restart),
        )

    def _of_server(self, name: str, server: OwnServer) -> Sequence[_Fault]:
        def stop(mode: StopMode) -> Callable[[Random], Coroutine[None, None, None]]:
            async def stop_and_start(rng: Random) -> None:
                await server.embedded.stop(mode)
                await _for(rng, 0.0, 1.5)
                await server.embedded.start()

            return stop_and_start

        async def end_sessions(_rng: Random) -> None:
            await self._ask(server, END_SESSIONS)

        async def kill_backend(rng: Random) -> None:
            # The main process ends all others then, and recovers.
            backends = await self._ask(server, BACKENDS)
            if backends:
                os.kill(rng.choice(backends), signal.SIGKILL)

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

    async def drift(self) -> list[str]:
        """Return what reconciliation finds once all is quiet."""
        status, written = await self._run("reconcile")
        return [f"drift: {written}"] if status else []

    def _command(self, *arguments: str) -> Callable[[Random], Coroutine[None, None, None]]:
        async def run(_rng: Random) -> None:
            status, written = await self._run(*arguments)
            # Whatever is in progress has its record, and what has none is not there any more.
            if any(kind.value in written for kind in NEVER_FOUND):
                raise Violated(f"pgbroker {' '.join(arguments)} finds what is not so: {written}")
            if status:
                self.happened[f"pgbroker {arguments[0]}, in vain"] += 1

        return run

    async def _run(self, *arguments: str) -> tuple[int, str]:
        """Run a command; return its exit status and what it wrote.

        Raises:
            Violated: It does not end, or not in good order.
        """
        command = f"pgbroker {' '.join(arguments)}"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "broker.cli", *arguments),
            env={**os.environ, **self._environ},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT):
                output, _ = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            raise Violated(f"{command} does not end") from None
        status, written = process.returncode or 0, output.decode()
        if status not in {0, 1} or "Traceback" in written:
            raise Violated(f"{command} ended with {status}: {written}")
        return status, written


async def _for(rng: Random, least: float, most: float) -> None:
    await asyncio.sleep(rng.uniform(least, most))
