"""The work of the broker by hand: the SQL that isolates a database, over psycopg, and nothing else.

What it does, with the rights and limits of the plan ``free``:

- provision: a read-only group role and an owner role in one message, ``CREATE DATABASE`` closed to
  all, its grants, comment, settings and opening in one message; then, on a connection of its own to
  the new database, schema ``public`` and the default privileges in one transaction.
- bind: a login role, its comment and its setting in one message; the SCRAM verifier is made by
  libpq, so that the password does not reach the server.
- unbind: ``NOLOGIN``, ending the login's sessions, ``DROP ROLE``. Nobody looks whether the login
  owns anything; the broker has to.
- deprovision: closing the database, ``DROP DATABASE ... WITH (FORCE)``, ``DROP ROLE``.

There is no lock against others, no look at what is there already, no record of what was done, no
HTTP. Statements are sent in as few messages as is possible; the connection to the maintenance
database is open beforehand. PostgreSQL 18 is what the embedded server is, and what this is for.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Composed, Identifier, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.place import Place

_TAG = "a comment about as long as the broker's own, which says whose this is" * 2

_PROVISION_ROLES = """
CREATE ROLE {database} NOLOGIN;
COMMENT ON ROLE {database} IS {tag};
CREATE ROLE {owner} NOLOGIN CONNECTION LIMIT 5;
COMMENT ON ROLE {owner} IS {tag};
GRANT {database}, {owner} TO CURRENT_USER WITH INHERIT TRUE, SET TRUE;
GRANT {database} TO {owner} WITH INHERIT FALSE, SET FALSE
"""
_CREATE_DATABASE = """
CREATE DATABASE {database} TEMPLATE template0 ALLOW_CONNECTIONS false CONNECTION LIMIT 0
"""
_OPEN_DATABASE = """
REVOKE ALL ON DATABASE {database} FROM PUBLIC;
GRANT CONNECT, TEMPORARY, CREATE ON DATABASE {database} TO {owner};
GRANT CONNECT ON DATABASE {database} TO {database};
COMMENT ON DATABASE {database} IS {tag};
ALTER DATABASE {database} SET statement_timeout = 60000;
ALTER DATABASE {database} SET idle_in_transaction_session_timeout = 300000;
ALTER DATABASE {database} SET temp_file_limit = 524288;
ALTER DATABASE {database} WITH ALLOW_CONNECTIONS true CONNECTION LIMIT 5
"""
_PREPARE_SCHEMA = """
ALTER SCHEMA public OWNER TO {owner};
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO {database};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO {database};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON SEQUENCES TO {database};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT USAGE ON SCHEMAS TO {database};
ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON LARGE OBJECTS TO {database}
"""
_BIND = """
CREATE ROLE {login} LOGIN INHERIT CONNECTION LIMIT 3 PASSWORD {verifier} VALID UNTIL 'infinity'
IN ROLE {owner};
COMMENT ON ROLE {login} IS {tag};
ALTER ROLE {login} IN DATABASE {database} SET role = {owner_name}
"""
_NO_LOGIN = "ALTER ROLE {login} NOLOGIN"
_END_SESSIONS = """
SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
WHERE usename = {login_name}
"""
_DROP_LOGIN = "DROP ROLE {login}"
_CLOSE_DATABASE = "ALTER DATABASE {database} WITH ALLOW_CONNECTIONS false CONNECTION LIMIT 0"
_DROP_DATABASE = "DROP DATABASE {database} WITH (FORCE)"
_DROP_ROLES = "DROP ROLE {owner}, {database}"


@dataclass(slots=True)
class RawClient:
    """Somebody who writes SQL by hand; one database at a time.

    Attributes:
        place: The server.
        maintenance: An open connection of the broker's role, in autocommit mode.
    """

    place: Place
    maintenance: AsyncConnection
    _names: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def connected(cls, place: Place) -> RawClient:
        """Open the connection to the maintenance database."""
        return cls(place, await AsyncConnection.connect(place.broker_dsn, autocommit=True))

    async def close(self) -> None:
        """Close it."""
        await self.maintenance.close()

    async def provision(self) -> None:
        """Make a database that only its owner's logins can enter."""
        database = f"raw_{secrets.token_hex(8)}"
        self._names = {"database": database, "owner": f"{database}_owner"}
        await self._run(_PROVISION_ROLES)
        await self._run(_CREATE_DATABASE)
        await self._run(_OPEN_DATABASE)
        dsn = make_conninfo(self.place.broker_dsn, dbname=self._names["database"])
        async with await AsyncConnection.connect(dsn) as tenant:
            await tenant.execute(self._statement(_PREPARE_SCHEMA))

    async def bind(self) -> Mapping[str, str]:
        """Make a login; return a connection's parameters."""
        self._names["login"] = f"raw_u_{secrets.token_hex(8)}"
        password = secrets.token_urlsafe(24)
        await self._run(_BIND, password=password)
        return {
            "host": self.place.host,
            "port": str(self.place.port),
            "dbname": self._names["database"],
            "user": self._names["login"],
            "password": password,
            "sslmode": self.place.sslmode,
        }

    async def unbind(self) -> None:
        """Take the login away."""
        await self._run(_NO_LOGIN)
        await self._run(_END_SESSIONS)
        await self._run(_DROP_LOGIN)

    async def deprovision(self) -> None:
        """Take the database away."""
        await self._run(_CLOSE_DATABASE)
        await self._run(_DROP_DATABASE)
        await self._run(_DROP_ROLES)

    async def _run(self, text: str, *, password: str | None = None) -> None:
        await self.maintenance.execute(self._statement(text, password=password))

    def _statement(self, text: str, *, password: str | None = None) -> Composed:
        parts: dict[str, Composed | SQL | Identifier | Literal] = {
            name: Identifier(value) for name, value in self._names.items()
        }
        parts["tag"] = Literal(_TAG)
        parts["owner_name"] = Literal(self._names["owner"])
        parts["login_name"] = Literal(self._names.get("login"))
        if password is not None:
            login = self._names["login"].encode()
            verifier = self.maintenance.pgconn.encrypt_password(
                password.encode(), login, b"scram-sha-256"
            )
            parts["verifier"] = Literal(verifier.decode("ascii"))
        return SQL(text).format(**parts)


async def use(parameters: Mapping[str, str]) -> None:
    """Do what an application does first: connect, create a table, write and read a row."""
    async with await AsyncConnection.connect(make_conninfo("", **parameters)) as connection:
        await connection.execute("CREATE TABLE t (id int PRIMARY KEY, word text)")
        await connection.execute("INSERT INTO t VALUES (1, 'one')")
        await connection.execute("SELECT word FROM t WHERE id = 1")
