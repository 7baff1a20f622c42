"""Servers: cordons, and the rotated passwords of the broker's own roles."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables, and the index that counts what servers hold."""
    op.create_table(
        "server_cordons",
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("cordoned_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("server", name="server_cordons_pkey"),
        schema="pgbroker",
    )
    op.create_table(
        "server_passwords",
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("secret_key_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("server", "role", "version", name="server_passwords_pkey"),
        schema="pgbroker",
    )
    op.add_column("operations", sa.Column("target_plan_id", sa.Text()), schema="pgbroker")
    op.create_index(
        "instances_server_plan",
        "instances",
        ["server", "service_id", "plan_id"],
        schema="pgbroker",
    )
