"""Waiting for what a fault leads to: on conditions, and never for ever."""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PATIENCE = 30
"""Seconds that anything may take at most."""

_LOOK_AGAIN = 0.02


async def until(
    condition: Callable[[], bool | Awaitable[bool]], *, what: str, within: float = PATIENCE
) -> None:
    """Wait until a condition holds, looking again and again.

    Args:
        condition: Looked at at least once.
        what: What is waited for, for the message.
        within: Seconds.

    Raises:
        AssertionError: It did not hold in time.
    """
    try:
        async with asyncio.timeout(within):
            while not await _holds(condition()):  # noqa: ASYNC110 -- others make it hold
                await asyncio.sleep(_LOOK_AGAIN)
    except TimeoutError:
        raise AssertionError(f"not within {within} seconds: {what}") from None


async def _holds(answer: bool | Awaitable[bool]) -> bool:
    return await answer if isawaitable(answer) else bool(answer)
