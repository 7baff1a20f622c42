"""What an operator is told about a server, given how its tenants connect."""

from __future__ import annotations

import pytest

from broker.bootstrap.servers import for_tenants
from broker.config import ServerSettings
from broker.domain.credentials import Secret
from broker.postgres.check import TLS, Finding

NO_TLS = Finding(TLS, "warning", "TLS is off.", "Set ssl = on.")


def a_server(sslmode: str) -> ServerSettings:
    """Return a server whose tenants connect like this."""
    return ServerSettings(
        name="main", admin_dsn=Secret("host=h"), host="h", port=5432, sslmode=sslmode
    )


@pytest.mark.parametrize(
    ("sslmode", "severity"),
    [("disable", "warning"), ("prefer", "warning"), ("require", "error"), ("verify-full", "error")],
)
def test_a_server_without_tls(sslmode: str, severity: str) -> None:
    """It is an error when no tenant could connect with what its credentials say."""
    told = for_tenants(NO_TLS, a_server(sslmode))
    assert (told.severity, sslmode in told.message) == (severity, severity == "error")
    assert told.remedy.startswith(NO_TLS.remedy)
