"""Every refusal and failure the broker can give, for the person who will read it.

The docstring of a class is its default description. HTTP statuses are the API's business
(``broker/api/errors.py``), SQLSTATEs the engine's (``broker/postgres/errors.py``).

::

    BrokerError
    ├── InvalidRequest              the request itself is wrong
    │   └── UnsupportedAPIVersion   it speaks a version of the protocol we do not
    ├── Unauthorized                the credentials of the platform are wrong
    ├── NotFound                    there is no such instance, binding or operation
    ├── Gone                        it was to be deleted and is not there
    ├── Conflict                    the id is taken by something different
    ├── Unprocessable               well-formed, but it cannot be done
    │   ├── AsyncRequired
    │   ├── ConcurrencyError
    │   ├── MaintenanceInfoConflict
    │   └── UpdateRefused           the update cannot be done, and nothing has changed
    ├── TemporaryFailure            the same request may succeed later
    │   ├── StateUnavailable        the broker's own state database
    │   ├── ServerUnavailable       a server that holds tenant databases
    │   │   └── ServerAway          it did not answer before either
    │   ├── OutcomeUnknown          it went away while a change was being made
    │   └── PoolExhausted           no server of the pool has room
    └── PermanentFailure            it will not succeed without somebody's help
"""

from __future__ import annotations

import inspect
from typing import ClassVar


class BrokerError(Exception):
    """The broker could not do what was asked.

    Attributes:
        error: The OSB error code, a single word, where the specification or we define one
            (OSB API 2.17, "Service Broker Errors").
        description: What happened, to which thing, and what to do now. Reaches the user of the
            platform, so it never carries a secret or another tenant's name.
        instance_usable: Whether the instance still works after a failed update or deprovision;
            ``None`` where the specification forbids the field.
        update_repeatable: Whether the same update may succeed when repeated; ``None`` likewise.
    """

    error: ClassVar[str | None] = None

    def __init__(
        self,
        description: str | None = None,
        *,
        instance_usable: bool | None = None,
        update_repeatable: bool | None = None,
    ) -> None:
        self.description = description or inspect.cleandoc(type(self).__doc__ or "")
        self.instance_usable = instance_usable
        self.update_repeatable = update_repeatable
        super().__init__(self.description)

    @property
    def cause(self) -> str | None:
        """The words of the driver or library behind it, on one line, for the operator alone.

        They name hosts, roles and databases; none carries a password.
        """
        cause = self.__cause__
        driver = getattr(cause, "orig", None) or cause
        primary = getattr(getattr(driver, "diag", None), "message_primary", None)
        return " ".join(str(primary or driver or "").split()) or None


class InvalidRequest(BrokerError):
    """The request is malformed or lacks mandatory data."""


class UnsupportedAPIVersion(InvalidRequest):
    """This broker speaks version 2 of the Open Service Broker API."""


class Unauthorized(BrokerError):
    """The user name or password is not one this broker was configured with."""


class NotFound(BrokerError):
    """There is no such service instance or binding."""


class Gone(BrokerError):
    """The service instance or binding does not exist."""


class Conflict(BrokerError):
    """The id is already in use by something with different attributes."""


class Unprocessable(BrokerError):
    """The request is well-formed but cannot be fulfilled."""


class AsyncRequired(Unprocessable):
    """This service plan requires client support for asynchronous service operations."""

    error = "AsyncRequired"


class ConcurrencyError(Unprocessable):
    """Another operation for this service instance is in progress."""

    error = "ConcurrencyError"


class MaintenanceInfoConflict(Unprocessable):
    """The maintenance information for the requested service plan has changed."""

    error = "MaintenanceInfoConflict"


class UpdateRefused(Unprocessable):
    """The requested change is not possible; nothing has been changed."""


class TemporaryFailure(BrokerError):
    """The broker cannot do this right now; try again in a moment."""


class StateUnavailable(TemporaryFailure):
    """The broker's state database cannot be reached; nothing has been changed. Try again later."""


class ServerUnavailable(TemporaryFailure):
    """The PostgreSQL server of this service instance cannot be reached. Try again later."""


class ServerAway(ServerUnavailable):
    """The PostgreSQL server of this service instance is known to be out of reach; try again later.

    Nothing was done, and nobody waited.
    """


class OutcomeUnknown(TemporaryFailure):
    """The change may have been made; it is looked after once its PostgreSQL server is back."""


class PoolExhausted(TemporaryFailure):
    """No server of this plan's pool has room for another database."""


class PermanentFailure(BrokerError):
    """The operation failed and will not succeed by itself; ask the operator of this broker."""
