"""What Alembic runs: the revisions, on the connection and in the transaction it is given.

``broker/store/migrate.py`` opens both and reads ``applied`` afterwards.
"""

from __future__ import annotations

from typing import Any

from alembic import context

from broker.store.tables import SCHEMA, metadata


def _note(ctx: object, step: Any, heads: object, run_args: object) -> None:  # noqa: ARG001 - Alembic passes them by name
    context.config.attributes["applied"].append(step.up_revision_id)


def _ours(name: str | None, kind: str, parents: Any) -> bool:
    return name == SCHEMA if kind == "schema" else bool(parents.get("schema_name") == SCHEMA)


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
    include_name=_ours,
    on_version_apply=_note,
)
with context.begin_transaction():
    context.run_migrations()
