"""What a server says of databases that are kept, past the broker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.sql import SQL, Identifier

from tests.support.platform import rows

if TYPE_CHECKING:
    from typing import Any

    from psycopg import Connection

    from broker.domain.deleted import DeletedKey
    from broker.domain.instance import BindingKey, InstanceKey
    from broker.store import EncryptedTags
    from tests.support.platform import Platform


@dataclass(frozen=True, slots=True)
class Server:
    """Looks at a server as its superuser.

    Attributes:
        connection: To it.
        tags: Opens the broker's tags.
    """

    connection: Connection
    tags: EncryptedTags

    def database(self, name: str) -> tuple[bool, InstanceKey | BindingKey | DeletedKey | None]:
        """Return whether a database lets anybody in, and whose its tag says it is."""
        row = self.connection.execute(
            "SELECT datallowconn, shobj_description(oid, 'pg_database') FROM pg_database "
            "WHERE datname = %s",
            [name],
        ).fetchone()
        assert row is not None, f"there is no database {name}"
        return row[0], self.tags.open(row[1])

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected."""
        self.connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))

    def databases(self, *names: str) -> list[str]:
        """Return which of these databases there are."""
        found = self.connection.execute(
            "SELECT datname FROM pg_database WHERE datname = ANY (%s) ORDER BY datname",
            [list(names)],
        )
        return [name for (name,) in found]

    def roles(self, *names: str) -> dict[str, InstanceKey | BindingKey | DeletedKey | None]:
        """Return which of these roles there are, and whose their tags say they are."""
        found = self.connection.execute(
            "SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles "
            "WHERE rolname = ANY (%s)",
            [list(names)],
        )
        return {name: self.tags.open(tag) for name, tag in found}


def with_data(platform: Platform, word: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    """Provision an instance that has a word in a table; return its id and its credentials."""
    instance, _, credentials = platform.bound(**fields)
    rows(credentials, f"CREATE TABLE words AS SELECT '{word}' AS word")
    return instance, credentials


def deleted_with_data(platform: Platform, word: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    """Do the same, and delete the instance."""
    instance, credentials = with_data(platform, word, **fields)
    assert platform.deprovision(instance).status_code == 200
    return instance, credentials


def word_of(credentials: dict[str, Any]) -> str:
    """Return the word that is in the table."""
    ((word,),) = rows(credentials, "SELECT word FROM words")
    assert isinstance(word, str)
    return word
