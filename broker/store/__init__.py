"""The broker's state in PostgreSQL: tables, queries, encryption at rest, migrations.

Belongs here: everything that knows how instances, bindings and operations are stored. SQLAlchemy
Core and Alembic are used here and nowhere else; the ORM is not used at all.

Banned here: decisions. What is written, and when, is the business of ``broker/service`` and
``broker/operations``.
"""

from broker.store.encryption import KeyRing
from broker.store.migrate import migrate
from broker.store.store import PostgresStore
from broker.store.tags import EncryptedTags

__all__ = ["EncryptedTags", "KeyRing", "PostgresStore", "migrate"]
