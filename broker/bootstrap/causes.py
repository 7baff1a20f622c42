"""Why something failed, for the operator: what users of a platform are not told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.domain.errors import BrokerError


def cause_of(error: BrokerError) -> str | None:
    """Return the words of the driver or library behind an error; none carries a password.

    Args:
        error: As it was raised, ``from`` what caused it.
    """
    cause = error.__cause__
    words = str(getattr(cause, "orig", None) or cause or "").strip()
    return words or None
