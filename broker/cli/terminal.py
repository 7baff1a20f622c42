"""What all commands share: where they print, and how a failure becomes a message."""

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import TypeVar

import typer
import uvloop
from rich.console import Console

_T = TypeVar("_T")

out = Console()
err = Console(stderr=True)


def run(work: Coroutine[object, object, _T], *, loop: Callable[..., _T] = uvloop.run) -> _T:
    """Run a command's work; a failure the operator can mend ends it with a message.

    Args:
        work: What to run.
        loop: Runs it to its end.
    """
    with explained():
        return loop(work)


@contextmanager
def explained() -> Iterator[None]:
    """Turn what an operator can mend into a message and an exit status of 1."""
    from broker.bootstrap.causes import cause_of  # noqa: PLC0415
    from broker.bootstrap.server import AddressUnavailable  # noqa: PLC0415
    from broker.config import ConfigurationError  # noqa: PLC0415
    from broker.domain.errors import BrokerError, StateUnavailable  # noqa: PLC0415
    from broker.embedded import EmbeddedPostgresError  # noqa: PLC0415

    try:
        yield
    except (AddressUnavailable, BrokerError, ConfigurationError, EmbeddedPostgresError) as exc:
        err.print(str(exc), style="red", highlight=False, markup=False, soft_wrap=True)
        cause = cause_of(exc) if isinstance(exc, StateUnavailable) else None
        if cause is not None:
            # The user of a platform is told to try again; whoever sits here can mend it.
            hint = f"PGBROKER_STATE_DSN leads to: {cause}"
            err.print(hint, highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1) from exc
