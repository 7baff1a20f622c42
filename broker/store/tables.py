"""The tables of the state database, as SQLAlchemy describes them.

Belongs here: columns, keys, constraints and indexes. A change here needs a new file in
``migrations/versions``; a test compares the two.

Identifiers are unique per platform only, so every key starts with the platform.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSON

from broker.domain.database import Access
from broker.domain.deleted import ATTACHED, Stage
from broker.domain.drift import DriftKind
from broker.domain.instance import Status
from broker.domain.operation import OperationKind, OperationState
from broker.domain.storage import StorageState
from broker.domain.warm import WarmState

if TYPE_CHECKING:
    from enum import StrEnum

SCHEMA = "pgbroker"
"""The PostgreSQL schema that holds everything of the broker's, the Alembic version included."""

MAX_ID_BYTES = 800
"""UTF-8 bytes of a platform's identifier; three of them fit into one B-tree entry."""

MAX_DOCUMENT_BYTES = 1024 * 1024
"""Bytes of one JSON document: parameters, a context, an update's target."""

metadata = MetaData(schema=SCHEMA)


def _one_of(column: str, values: type[StrEnum]) -> CheckConstraint:
    allowed = ", ".join(f"'{member.value}'" for member in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_known")


def _short(*columns: str) -> list[CheckConstraint]:
    return [
        CheckConstraint(
            f"octet_length({column}) BETWEEN 1 AND {MAX_ID_BYTES}", name=f"{column}_size"
        )
        for column in columns
    ]


def _bounded(*columns: str) -> list[CheckConstraint]:
    return [
        CheckConstraint(
            f"octet_length({column}::text) <= {MAX_DOCUMENT_BYTES}", name=f"{column}_size"
        )
        for column in columns
    ]


def _moment(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


instances = Table(
    "instances",
    metadata,
    Column("platform", Text, nullable=False),
    Column("instance_id", Text, nullable=False),
    Column("service_id", Text, nullable=False),
    Column("plan_id", Text, nullable=False),
    Column("former_plan_ids", ARRAY(Text), nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("context", JSON, nullable=False),
    Column("organization_guid", Text),
    Column("space_guid", Text),
    Column("maintenance_version", Text),
    Column("server", Text, nullable=False),
    Column("database", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("extensions", ARRAY(Text), nullable=False),
    Column("status", Text, nullable=False),
    # The COMMENT on the database and its roles was made with this key: it must stay configured.
    Column("tag_key_id", Text, nullable=False),
    _moment("created_at"),
    Column("storage", Text, nullable=False),
    PrimaryKeyConstraint("platform", "instance_id", name="instances_pkey"),
    _one_of("status", Status),
    _one_of("storage", StorageState),
    *_short("platform", "instance_id", "service_id", "plan_id"),
    *_bounded("parameters", "context"),
    Index("instances_server_database", "server", "database", unique=True),
    Index("instances_server_plan", "server", "service_id", "plan_id"),
)

bindings = Table(
    "bindings",
    metadata,
    Column("platform", Text, nullable=False),
    Column("instance_id", Text, nullable=False),
    Column("binding_id", Text, nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("context", JSON, nullable=False),
    Column("bind_resource", JSON, nullable=False),
    Column("app_guid", Text),
    Column("predecessor_id", Text),
    Column("login", Text, nullable=False),
    Column("access", Text, nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("secret_key_id", Text, nullable=False),
    _moment("created_at"),
    _moment("expires_at", nullable=True),
    _moment("renew_before", nullable=True),
    Column("status", Text, nullable=False),
    PrimaryKeyConstraint("platform", "instance_id", "binding_id", name="bindings_pkey"),
    ForeignKeyConstraint(
        ["platform", "instance_id"],
        [instances.c.platform, instances.c.instance_id],
        name="bindings_instance_fkey",
        ondelete="CASCADE",
    ),
    _one_of("status", Status),
    _one_of("access", Access),
    *_short("binding_id"),
    *_bounded("parameters", "context", "bind_resource"),
    Index("bindings_secret_key_id", "secret_key_id"),
    Index("bindings_expiring", "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
)

# While its data is moved, an instance record goes with it, and is what counts on the server.
_ATTACHED = "stage IN ({})".format(", ".join(sorted(f"'{stage}'" for stage in ATTACHED)))

deleted_instances = Table(
    "deleted_instances",
    metadata,
    Column("id", Uuid, nullable=False),
    # What the instance was; the same columns as there, but for its status.
    Column("platform", Text, nullable=False),
    Column("instance_id", Text, nullable=False),
    Column("service_id", Text, nullable=False),
    Column("plan_id", Text, nullable=False),
    Column("former_plan_ids", ARRAY(Text), nullable=False),
    Column("parameters", JSON, nullable=False),
    Column("context", JSON, nullable=False),
    Column("organization_guid", Text),
    Column("space_guid", Text),
    Column("maintenance_version", Text),
    Column("server", Text, nullable=False),
    Column("database", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("extensions", ARRAY(Text), nullable=False),
    Column("tag_key_id", Text, nullable=False),
    _moment("created_at"),
    _moment("deleted_at"),
    _moment("purge_at"),
    Column("stage", Text, nullable=False),
    Column("attached", Text),
    PrimaryKeyConstraint("id", name="deleted_instances_pkey"),
    _one_of("stage", Stage),
    CheckConstraint(f"({_ATTACHED}) = (attached IS NOT NULL)", name="attached_while_moved"),
    Index("deleted_instances_database", "server", "database", unique=True),
    Index("deleted_instances_former_id", "platform", "instance_id", "deleted_at"),
    Index(
        "deleted_instances_attached",
        "platform",
        "attached",
        unique=True,
        postgresql_where=text("attached IS NOT NULL"),
    ),
    Index("deleted_instances_due", "purge_at"),
)

# Apart from the instances, because it is written every minute.
storage_use = Table(
    "storage_use",
    metadata,
    Column("platform", Text, nullable=False),
    Column("instance_id", Text, nullable=False),
    Column("used", BigInteger, nullable=False),
    _moment("measured_at"),
    _moment("writes_allowed_until", nullable=True),
    PrimaryKeyConstraint("platform", "instance_id", name="storage_use_pkey"),
    ForeignKeyConstraint(
        ["platform", "instance_id"],
        [instances.c.platform, instances.c.instance_id],
        name="storage_use_instance_fkey",
        ondelete="CASCADE",
    ),
)

# All together: also what is kept of deleted instances, the warm stock, and what nobody knows.
server_use = Table(
    "server_use",
    metadata,
    Column("server", Text, nullable=False),
    Column("used", BigInteger, nullable=False),
    _moment("measured_at"),
    PrimaryKeyConstraint("server", name="server_use_pkey"),
)

_IN_PROGRESS = f"state = '{OperationState.IN_PROGRESS}'"

operations = Table(
    "operations",
    metadata,
    Column("id", Uuid, nullable=False),
    # Orders operations by when the database recorded them: replicas' clocks differ.
    Column("sequence", BigInteger, Identity(always=True), nullable=False),
    Column("platform", Text, nullable=False),
    Column("instance_id", Text, nullable=False),
    Column("binding_id", Text),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("identity_platform", Text),
    Column("identity_value", JSON(none_as_null=True)),
    Column("target", JSON(none_as_null=True)),
    # Apart from the rest, because placement counts by it: PostgreSQL cannot read a JSON document
    # that has a NUL character somewhere.
    Column("target_plan_id", Text),
    Column("lease_token", Uuid, nullable=False),
    _moment("lease_until"),
    Column("description", Text),
    Column("error", Text),
    Column("instance_usable", Boolean),
    Column("update_repeatable", Boolean),
    _moment("started_at"),
    _moment("finished_at", nullable=True),
    PrimaryKeyConstraint("id", name="operations_pkey"),
    _one_of("kind", OperationKind),
    _one_of("state", OperationState),
    CheckConstraint(f"({_IN_PROGRESS}) = (finished_at IS NULL)", name="finished_when_over"),
    CheckConstraint(
        "(identity_platform IS NULL) = (identity_value IS NULL)", name="identity_whole"
    ),
    *_short("platform", "instance_id", "binding_id"),
    *_bounded("identity_value", "target"),
    Index(
        "operations_one_per_instance",
        "platform",
        "instance_id",
        unique=True,
        postgresql_where=text(f"{_IN_PROGRESS} AND binding_id IS NULL"),
    ),
    Index(
        "operations_one_per_binding",
        "platform",
        "instance_id",
        "binding_id",
        unique=True,
        postgresql_where=text(f"{_IN_PROGRESS} AND binding_id IS NOT NULL"),
    ),
    Index("operations_newest", "platform", "instance_id", "binding_id", "sequence"),
    Index("operations_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
    Index("operations_leases", "lease_until", postgresql_where=text(_IN_PROGRESS)),
)

server_cordons = Table(
    "server_cordons",
    metadata,
    Column("server", Text, nullable=False),
    Column("reason", Text),
    _moment("cordoned_at"),
    PrimaryKeyConstraint("server", name="server_cordons_pkey"),
)

server_passwords = Table(
    "server_passwords",
    metadata,
    Column("server", Text, nullable=False),
    Column("role", Text, nullable=False),
    # Grows with every rotation; part of what a ciphertext is bound to.
    Column("version", BigInteger, nullable=False),
    Column("secret", LargeBinary, nullable=False),
    Column("secret_key_id", Text, nullable=False),
    _moment("created_at"),
    # Unknown is whether the server has got it: the rotation has not ended yet, or was interrupted.
    _moment("confirmed_at", nullable=True),
    PrimaryKeyConstraint("server", "role", "version", name="server_passwords_pkey"),
)

warm_databases = Table(
    "warm_databases",
    metadata,
    Column("database", Text, nullable=False),
    Column("server", Text, nullable=False),
    Column("service_id", Text, nullable=False),
    Column("plan_id", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    # As it is on the server: it must be dropped even when its key is gone.
    Column("tag", Text, nullable=False),
    Column("state", Text, nullable=False),
    _moment("created_at"),
    PrimaryKeyConstraint("database", name="warm_databases_pkey"),
    _one_of("state", WarmState),
    Index("warm_databases_fingerprint", "fingerprint", "created_at"),
)

# What the last look at each server has found; replaced by the next one.
drift = Table(
    "drift",
    metadata,
    Column("server", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("database", Text, nullable=False),
    Column("platform", Text),
    Column("instance_id", Text),
    Column("detail", Text, nullable=False),
    Column("resolved", Boolean, nullable=False),
    _moment("first_seen_at"),
    PrimaryKeyConstraint("server", "kind", "subject", name="drift_pkey"),
    _one_of("kind", DriftKind),
)

reconciled = Table(
    "reconciled",
    metadata,
    Column("server", Text, nullable=False),
    _moment("finished_at"),
    PrimaryKeyConstraint("server", name="reconciled_pkey"),
)

encryption_keys = Table(
    "encryption_keys",
    metadata,
    Column("id", Text, nullable=False),
    # A known text, encrypted: tells the right key from another one under the same id.
    Column("proof", LargeBinary, nullable=False),
    PrimaryKeyConstraint("id", name="encryption_keys_pkey"),
)
