"""Takeover jobs: in the queue as long as an operation is in progress."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the functions that put a job into the queue and take it out, in one statement each.

    The queue's functions and triggers name their tables without a schema, hence the search path.
    """
    op.execute("""
        CREATE FUNCTION pgbroker.defer_takeover(operation uuid, due timestamptz) RETURNS void
        LANGUAGE sql SET search_path = pg_catalog, pgbroker_jobs, pg_temp AS $$
            SELECT procrastinate_defer_jobs_v1(ARRAY[ROW(
                'operations', 'take_over', 0, NULL, operation::text,
                jsonb_build_object('operation_id', operation), due
            )::procrastinate_job_to_defer_v1])
        $$
    """)
    op.execute("""
        CREATE FUNCTION pgbroker.forget_takeover(operation uuid) RETURNS void
        LANGUAGE sql SET search_path = pg_catalog, pgbroker_jobs, pg_temp AS $$
            DELETE FROM procrastinate_jobs
            WHERE queueing_lock = operation::text AND status = 'todo'
        $$
    """)
    op.execute("""
        SELECT pgbroker.defer_takeover(id, lease_until)
        FROM pgbroker.operations WHERE state = 'in progress'
    """)
    op.create_index(
        "operations_finished",
        "operations",
        ["finished_at"],
        schema="pgbroker",
        postgresql_where=sa.text("finished_at IS NOT NULL"),
    )
