"""The warm stock: databases made before anybody asked for them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Create the table of the stock."""
    op.create_table(
        "warm_databases",
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("service_id", sa.Text(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("tag", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("database", name="warm_databases_pkey"),
        sa.CheckConstraint("state IN ('making', 'ready', 'releasing')", name="state_known"),
        schema="pgbroker",
    )
    op.create_index(
        "warm_databases_fingerprint",
        "warm_databases",
        ["fingerprint", "created_at"],
        schema="pgbroker",
    )
