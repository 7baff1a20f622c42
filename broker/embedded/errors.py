"""What the embedded PostgreSQL refuses or fails at, for the person at the terminal."""

from __future__ import annotations


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot run; the message says why and what to do."""
