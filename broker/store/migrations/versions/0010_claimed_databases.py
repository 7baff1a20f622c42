"""Databases of the warm stock that an instance has, and that do not say so yet."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Allow the state ``claimed``."""
    op.drop_constraint("state_known", "warm_databases", schema="pgbroker")
    op.create_check_constraint(
        "state_known",
        "warm_databases",
        "state IN ('making', 'ready', 'claimed', 'releasing')",
        schema="pgbroker",
    )
