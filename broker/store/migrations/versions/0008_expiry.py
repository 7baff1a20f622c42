"""Finding the bindings whose credentials have ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Create the index."""
    op.create_index(
        "bindings_expiring",
        "bindings",
        ["expires_at"],
        schema="pgbroker",
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
