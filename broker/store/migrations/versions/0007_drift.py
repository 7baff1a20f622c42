"""What the last look at each server has found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_KINDS = (
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
    "lost_state",
)


def upgrade() -> None:
    """Create the tables."""
    kinds = ", ".join(f"'{kind}'" for kind in _KINDS)
    op.create_table(
        "drift",
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=True),
        sa.Column("instance_id", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("resolved", sa.Boolean(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(f"kind IN ({kinds})", name="kind_known"),
        sa.PrimaryKeyConstraint("server", "kind", "subject", name="drift_pkey"),
        schema="pgbroker",
    )
    op.create_table(
        "reconciled",
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("server", name="reconciled_pkey"),
        schema="pgbroker",
    )
