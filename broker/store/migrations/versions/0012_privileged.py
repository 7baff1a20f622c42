"""Drift: roles with more than they were given, and instances that a server knows better."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"

KINDS = (
    "limits",
    "grants",
    "membership",
    "login",
    "reading",
    "comment",
    "half_dropped",
    "quarantined",
    "unknown_database",
    "unknown_login",
    "unknown_role",
    "database_missing",
    "role_missing",
    "closed",
    "foreign",
    "privileged",
    "outdated_state",
    "unfinished",
    "lost_state",
)


def upgrade() -> None:
    """Allow the kinds ``privileged`` and ``outdated_state``."""
    op.drop_constraint("kind_known", "drift", schema="pgbroker")
    kinds = ", ".join(f"'{kind}'" for kind in KINDS)
    op.create_check_constraint("kind_known", "drift", f"kind IN ({kinds})", schema="pgbroker")
