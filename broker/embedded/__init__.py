"""A private PostgreSQL for ``pgbroker dev`` and for tests: nothing to install beforehand.

Belongs here: getting binaries, making and configuring a cluster, starting and stopping its server.

Banned here: what the broker does on a server (that is ``broker.postgres``); the broker connects to
this server with the same unprivileged role, and through the same code, as to any other.
"""

from broker.embedded.errors import EmbeddedPostgresError
from broker.embedded.locations import default_cache_directory, default_data_directory
from broker.embedded.postmaster import StopMode
from broker.embedded.server import EmbeddedPostgres

__all__ = [
    "EmbeddedPostgres",
    "EmbeddedPostgresError",
    "StopMode",
    "default_cache_directory",
    "default_data_directory",
]
