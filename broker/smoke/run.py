"""One smoke run: the life, and cleaning up whatever happened.

Belongs here: signals, bounds in time, and the exit status.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.smoke.catalog import choose
from broker.smoke.client import Client
from broker.smoke.database import Application
from broker.smoke.display import display_for
from broker.smoke.errors import StepFailed
from broker.smoke.journal import Journal
from broker.smoke.life import Life
from broker.smoke.platform import Platform
from broker.smoke.report import Leftover, Report

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from rich.console import Console

    from broker.smoke.target import Target

PASSED, FAILED, INTERRUPTED = 0, 1, 130
"""Exit statuses."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a run should be like.

    Attributes:
        service: Name or id of the offering; ``None`` is the first.
        plan: Name or id of the plan; ``None`` is the first that is free and can be bound.
        timeout: Seconds until the life is given up; cleaning up gets as long again.
        as_json: Print one JSON document instead of lines for people.
    """

    service: str | None = None
    plan: str | None = None
    timeout: float = 600.0
    as_json: bool = False


def smoke(target: Target, wishes: Wishes, console: Console) -> int:
    """Try a broker out, and print how it went.

    Args:
        target: The broker.
        wishes: What to try, and for how long.
        console: Where to print.

    Returns:
        The exit status: 0 when every step passed, 130 after an interruption, 1 otherwise.
    """
    began = time.monotonic()
    with display_for(console, quiet=wishes.as_json) as display:
        journal = Journal(display)
        journal.hide([target.password.reveal()])
        if not wishes.as_json:
            console.print(target.url, highlight=False, markup=False, soft_wrap=True)
        run = _Run(journal, wishes)
        asyncio.run(run.run(target))
    report = Report(
        url=target.url,
        steps=journal.steps,
        seconds=time.monotonic() - began,
        problem=run.problem,
        left_behind=run.left_behind,
    )
    report.print(console, as_json=wishes.as_json)
    if run.interrupted:
        return INTERRUPTED
    return PASSED if report.passed else FAILED


class _Run:
    """Lives the life in a task of its own, so that an interruption ends it and not the cleaning."""

    def __init__(self, journal: Journal, wishes: Wishes) -> None:
        self._journal = journal
        self._wishes = wishes
        self._platform: Platform | None = None
        self.interrupted = False
        self.problem: str | None = None
        self.left_behind: list[Leftover] = []

    async def run(self, target: Target) -> None:
        async with Client(target) as client:
            try:
                await self._bounded(self._live(client))
            finally:
                if self._platform is not None and self._platform.instance is not None:
                    await self._bounded(self._clean_up(self._platform))
                    self._note_left_behind(self._platform)

    async def _bounded(self, work: Coroutine[None, None, None]) -> None:
        """Do a part of the run, until a signal or the clock says otherwise."""
        task = asyncio.create_task(work, name="smoke")
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt, task)
        await asyncio.wait({task}, timeout=self._wishes.timeout)
        if not task.done():
            self.problem = f"given up after {self._wishes.timeout:g} s (--timeout)"
            task.cancel()
        with suppress(StepFailed, asyncio.CancelledError):
            await task

    def _interrupt(self, task: asyncio.Task[None]) -> None:
        self.interrupted, self.problem = True, "interrupted"
        task.cancel()

    async def _live(self, client: Client) -> None:
        with self._journal.step("catalog") as step:
            answer = await client.send("GET", "/v2/catalog", expected=(200,))
            choice = choose(answer.body, service=self._wishes.service, plan=self._wishes.plan)
            step.detail = f"offering {choice.service}, plan {choice.plan}"
        self._platform = Platform(client, choice)
        with Application() as application:
            await Life(self._platform, application, self._journal, choice).live()

    async def _clean_up(self, platform: Platform) -> None:
        instance = platform.instance
        if instance is None:
            return
        for binding in reversed(platform.bindings):
            with suppress(StepFailed), self._journal.step("clean up: unbind"):
                await platform.remove(instance, binding)
        with self._journal.step("clean up: deprovision"):
            await platform.remove(instance)

    def _note_left_behind(self, platform: Platform) -> None:
        instance = platform.instance
        if instance is None:
            return  # and its bindings have gone with it
        for binding in (*reversed(platform.bindings), None):
            self.left_behind.append(
                Leftover(
                    kind="instance" if binding is None else "binding",
                    id=binding or instance,
                    request=platform.deletion(instance, binding),
                )
            )
