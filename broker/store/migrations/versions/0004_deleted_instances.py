"""Deleted instances whose data is kept for a while."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "deleted_instances",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("service_id", sa.Text(), nullable=False),
        sa.Column("plan_id", sa.Text(), nullable=False),
        sa.Column("former_plan_ids", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("parameters", postgresql.JSON(), nullable=False),
        sa.Column("context", postgresql.JSON(), nullable=False),
        sa.Column("organization_guid", sa.Text(), nullable=True),
        sa.Column("space_guid", sa.Text(), nullable=True),
        sa.Column("maintenance_version", sa.Text(), nullable=True),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("database", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("extensions", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("tag_key_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("purge_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("attached", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "stage IN ('deleting', 'retained', 'restoring', 'purging')", name="stage_known"
        ),
        sa.CheckConstraint(
            "(stage IN ('deleting', 'restoring')) = (attached IS NOT NULL)",
            name="attached_while_moved",
        ),
        sa.PrimaryKeyConstraint("id", name="deleted_instances_pkey"),
        schema="pgbroker",
    )
    op.create_index(
        "deleted_instances_database",
        "deleted_instances",
        ["server", "database"],
        unique=True,
        schema="pgbroker",
    )
    op.create_index(
        "deleted_instances_former_id",
        "deleted_instances",
        ["platform", "instance_id", "deleted_at"],
        schema="pgbroker",
    )
    op.create_index(
        "deleted_instances_attached",
        "deleted_instances",
        ["platform", "attached"],
        unique=True,
        schema="pgbroker",
        postgresql_where=sa.text("attached IS NOT NULL"),
    )
    op.create_index("deleted_instances_due", "deleted_instances", ["purge_at"], schema="pgbroker")
