"""What the databases of each server occupy together, those that no instance has included."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Create the table; the next measurement fills it."""
    op.create_table(
        "server_use",
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.Column("measured_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("server", name="server_use_pkey"),
        schema="pgbroker",
    )
