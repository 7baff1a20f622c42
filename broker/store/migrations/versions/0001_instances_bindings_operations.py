"""Instances, bindings, operations, and the proofs of encryption keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "encryption_keys",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("proof", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="encryption_keys_pkey"),
        schema="pgbroker",
    )
    op.create_table(
        "instances",
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
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("tag_key_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "status IN ('creating', 'ready', 'failed', 'deleting')", name="status_known"
        ),
        sa.CheckConstraint("octet_length(context::text) <= 1048576", name="context_size"),
        sa.CheckConstraint("octet_length(instance_id) BETWEEN 1 AND 800", name="instance_id_size"),
        sa.CheckConstraint("octet_length(parameters::text) <= 1048576", name="parameters_size"),
        sa.CheckConstraint("octet_length(plan_id) BETWEEN 1 AND 800", name="plan_id_size"),
        sa.CheckConstraint("octet_length(platform) BETWEEN 1 AND 800", name="platform_size"),
        sa.CheckConstraint("octet_length(service_id) BETWEEN 1 AND 800", name="service_id_size"),
        sa.PrimaryKeyConstraint("platform", "instance_id", name="instances_pkey"),
        schema="pgbroker",
    )
    op.create_index(
        "instances_server_database",
        "instances",
        ["server", "database"],
        unique=True,
        schema="pgbroker",
    )
    op.create_table(
        "operations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("binding_id", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("identity_platform", sa.Text(), nullable=True),
        sa.Column("identity_value", postgresql.JSON(none_as_null=True), nullable=True),
        sa.Column("target", postgresql.JSON(none_as_null=True), nullable=True),
        sa.Column("lease_token", sa.Uuid(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("instance_usable", sa.Boolean(), nullable=True),
        sa.Column("update_repeatable", sa.Boolean(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state = 'in progress') = (finished_at IS NULL)", name="finished_when_over"
        ),
        sa.CheckConstraint(
            "kind IN ('provision', 'update', 'deprovision', 'bind', 'unbind')", name="kind_known"
        ),
        sa.CheckConstraint("state IN ('in progress', 'succeeded', 'failed')", name="state_known"),
        sa.CheckConstraint(
            "(identity_platform IS NULL) = (identity_value IS NULL)", name="identity_whole"
        ),
        sa.CheckConstraint("octet_length(binding_id) BETWEEN 1 AND 800", name="binding_id_size"),
        sa.CheckConstraint(
            "octet_length(identity_value::text) <= 1048576", name="identity_value_size"
        ),
        sa.CheckConstraint("octet_length(instance_id) BETWEEN 1 AND 800", name="instance_id_size"),
        sa.CheckConstraint("octet_length(platform) BETWEEN 1 AND 800", name="platform_size"),
        sa.CheckConstraint("octet_length(target::text) <= 1048576", name="target_size"),
        sa.PrimaryKeyConstraint("id", name="operations_pkey"),
        schema="pgbroker",
    )
    op.create_index(
        "operations_leases",
        "operations",
        ["lease_until"],
        unique=False,
        schema="pgbroker",
        postgresql_where=sa.text("state = 'in progress'"),
    )
    op.create_index(
        "operations_newest",
        "operations",
        ["platform", "instance_id", "binding_id", "sequence"],
        unique=False,
        schema="pgbroker",
    )
    op.create_index(
        "operations_one_per_binding",
        "operations",
        ["platform", "instance_id", "binding_id"],
        unique=True,
        schema="pgbroker",
        postgresql_where=sa.text("state = 'in progress' AND binding_id IS NOT NULL"),
    )
    op.create_index(
        "operations_one_per_instance",
        "operations",
        ["platform", "instance_id"],
        unique=True,
        schema="pgbroker",
        postgresql_where=sa.text("state = 'in progress' AND binding_id IS NULL"),
    )
    op.create_table(
        "bindings",
        sa.Column("platform", sa.Text(), nullable=False),
        sa.Column("instance_id", sa.Text(), nullable=False),
        sa.Column("binding_id", sa.Text(), nullable=False),
        sa.Column("parameters", postgresql.JSON(), nullable=False),
        sa.Column("context", postgresql.JSON(), nullable=False),
        sa.Column("bind_resource", postgresql.JSON(), nullable=False),
        sa.Column("app_guid", sa.Text(), nullable=True),
        sa.Column("predecessor_id", sa.Text(), nullable=True),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("access", sa.Text(), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("secret_key_id", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("renew_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.CheckConstraint("access IN ('write', 'read')", name="access_known"),
        sa.CheckConstraint(
            "status IN ('creating', 'ready', 'failed', 'deleting')", name="status_known"
        ),
        sa.CheckConstraint(
            "octet_length(bind_resource::text) <= 1048576", name="bind_resource_size"
        ),
        sa.CheckConstraint("octet_length(binding_id) BETWEEN 1 AND 800", name="binding_id_size"),
        sa.CheckConstraint("octet_length(context::text) <= 1048576", name="context_size"),
        sa.CheckConstraint("octet_length(parameters::text) <= 1048576", name="parameters_size"),
        sa.ForeignKeyConstraint(
            ["platform", "instance_id"],
            ["pgbroker.instances.platform", "pgbroker.instances.instance_id"],
            name="bindings_instance_fkey",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("platform", "instance_id", "binding_id", name="bindings_pkey"),
        schema="pgbroker",
    )
    op.create_index(
        "bindings_secret_key_id", "bindings", ["secret_key_id"], unique=False, schema="pgbroker"
    )
