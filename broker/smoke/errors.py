"""What can go wrong in a smoke run, for the person who reads it."""

from __future__ import annotations

from http import HTTPStatus


class TargetUnusable(Exception):
    """The URL, the credentials or the CA file cannot be used; nothing has been sent."""


class StepFailed(Exception):
    """A step did not do what it should; the message says what was expected."""


class BrokerRefused(StepFailed):
    """The broker answered with another status than a success.

    Args:
        message: For the reader.
        status: The HTTP status.
        code: The ``error`` field of the body (OSB API 2.17, "Service Broker Errors"), if any.
    """

    def __init__(self, message: str, *, status: int, code: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def nothing_done(self) -> bool:
        """Whether nothing can be left behind (OSB API 2.17, "Orphan Mitigation")."""
        refused = HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR
        return refused and self.status != HTTPStatus.REQUEST_TIMEOUT

    @property
    def busy(self) -> bool:
        """Whether the same request will do once another operation is over."""
        return self.code == "ConcurrencyError"


class Unreachable(StepFailed):
    """No connection to the broker came about, so it cannot have done anything."""


class Unanswered(StepFailed):
    """The request was sent, no usable answer came: the broker may have carried it out."""
