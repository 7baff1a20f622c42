"""Drift: what could not be made or deleted, and is left so."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"

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
    "unfinished",
    "lost_state",
)


def upgrade() -> None:
    """Allow the kind ``unfinished``."""
    op.drop_constraint("kind_known", "drift", schema="pgbroker")
    kinds = ", ".join(f"'{kind}'" for kind in KINDS)
    op.create_check_constraint("kind_known", "drift", f"kind IN ({kinds})", schema="pgbroker")
