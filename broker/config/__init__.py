"""Settings from the environment, the catalog and the files they name.

Belongs here: reading and checking what an operator wrote, before anything else starts. Every
problem is reported at once, each with the variable or the file and line.

Banned here: connecting to anything, and being imported by anything but ``bootstrap`` and ``cli``.
"""

from broker.config.catalog import load_catalog, parse_catalog
from broker.config.environment import load_settings
from broker.config.problems import ConfigurationError, Problem
from broker.config.report import check_catalog, print_problems
from broker.config.servers import load_servers
from broker.config.settings import (
    EncryptionKey,
    LogFormat,
    LogLevel,
    PlatformSettings,
    ServerSettings,
    Settings,
)

__all__ = [
    "ConfigurationError",
    "EncryptionKey",
    "LogFormat",
    "LogLevel",
    "PlatformSettings",
    "Problem",
    "ServerSettings",
    "Settings",
    "check_catalog",
    "load_catalog",
    "load_servers",
    "load_settings",
    "parse_catalog",
    "print_problems",
]
