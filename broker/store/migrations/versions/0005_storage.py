"""What databases occupy, and whether their plans' storage limits let them be written to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the state to instances, and the table of measurements."""
    op.add_column(
        "instances",
        sa.Column("storage", sa.Text(), nullable=False, server_default="within"),
        schema="pgbroker",
    )
    op.alter_column("instances", "storage", server_default=None, schema="pgbroker")
    op.create_check_constraint(
        "storage_known",
        "instances",
        "storage IN ('within', 'full', 'releasing')",
        schema="pgbroker",
    )
    op.create_table(
        "storage_use",
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("writes_allowed_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["platform", "instance_id"],
            ["pgbroker.instances.platform", "pgbroker.instances.instance_id"],
            name="storage_use_instance_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("platform", "instance_id", name="storage_use_pkey"),
        schema="pgbroker",
    )
