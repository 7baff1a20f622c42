"""What the engine is asked to make: a database with its roles, and logins to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from broker.domain.credentials import Secret


class Access(StrEnum):
    """What a binding may do with the data."""

    WRITE = "write"
    READ = "read"


@dataclass(frozen=True, slots=True)
class Limits:
    """A plan's limits on one database; ``None`` leaves the server's own setting in force.

    Attributes:
        connections: Concurrent connections to the database, all bindings together.
        connections_per_binding: Concurrent connections of one login role.
        storage: Bytes the database may occupy.
        statement_timeout: Default of every session; a tenant can raise it for itself.
        idle_in_transaction_session_timeout: Likewise.
        temp_file_limit: Bytes of temporary files per session; a tenant cannot raise it.
    """

    connections: int
    connections_per_binding: int
    storage: int | None = None
    statement_timeout: timedelta | None = None
    idle_in_transaction_session_timeout: timedelta | None = None
    temp_file_limit: int | None = None


@dataclass(frozen=True, slots=True)
class DatabaseOptions:
    """The part of ``initdb``'s options that ``CREATE DATABASE`` can honour.

    Attributes:
        encoding: Character set, for example ``UTF8``.
        locale: ``LOCALE``.
        lc_collate: ``LC_COLLATE``.
        lc_ctype: ``LC_CTYPE``.
        locale_provider: ``libc``, ``icu`` or ``builtin``.
        icu_locale: ``ICU_LOCALE``, for the provider ``icu``.
        icu_rules: ``ICU_RULES``.
        builtin_locale: ``BUILTIN_LOCALE``, for the provider ``builtin``.
        data_checksums: The server must have data checksums on.
    """

    encoding: str | None = None
    locale: str | None = None
    lc_collate: str | None = None
    lc_ctype: str | None = None
    locale_provider: str | None = None
    icu_locale: str | None = None
    icu_rules: str | None = None
    builtin_locale: str | None = None
    data_checksums: bool = False


def comment(tag: str, record: str | None) -> str:
    """Put the COMMENT on a role together: the tag is its first word, whatever follows."""
    return tag if record is None else f"{tag} {record}"


def tag_of(comment: str) -> str:
    """Return the tag that a COMMENT begins with; what follows it may change."""
    return comment.split(" ", 1)[0]


@dataclass(frozen=True, slots=True)
class DatabaseSpec:
    """One tenant database.

    Attributes:
        name: The database and the read-only group role, which share it (the ``samerole`` fence of
            pg_hba depends on that).
        owner: The owner role, a member of the read-only one.
        tag: What ``COMMENT ON`` the database and its roles says; opaque to other tenants.
        limits: The plan's limits.
        extensions: Extensions to have, by name.
        added_extensions: Those of the extensions that databases of its plan do not have anyway.
        options: How to create it.
        record: What its instance is, sealed: follows the tag in the comment on the owner role, for
            a broker whose state was lost. Of no consequence where the database is dropped.
    """

    name: str
    owner: str
    tag: str
    limits: Limits
    extensions: tuple[str, ...] = ()
    added_extensions: tuple[str, ...] = ()
    options: DatabaseOptions = field(default_factory=DatabaseOptions)
    record: str | None = None

    @property
    def owner_comment(self) -> str:
        """What ``COMMENT ON ROLE`` says of the owner role."""
        return comment(self.tag, self.record)


@dataclass(frozen=True, slots=True)
class Retention:
    """A database, and what it is called and says of itself while it is kept after its deletion.

    Attributes:
        database: The database as an instance has it, with the tag of that instance; its group
            roles keep their names.
        name: Its name while it is kept.
        tag: Its tag and that of its group roles while it is kept.
        record: What was deleted, sealed: follows that tag in the comment on the owner role.
    """

    database: DatabaseSpec
    name: str
    tag: str
    record: str | None = None

    @property
    def owner_comment(self) -> str:
        """What ``COMMENT ON ROLE`` says of the owner role while the database is kept."""
        return comment(self.tag, self.record)


@dataclass(frozen=True, slots=True)
class Retagging:
    """New comments for a database and its roles, made with another key.

    Attributes:
        database: The database's present name.
        old_tag: Its tag and that of its group roles before.
        new_tag: Likewise afterwards.
        groups: The new comments on the group roles, by name.
        logins: The old tag and the new comment of each login role, by name.
    """

    database: str
    old_tag: str
    new_tag: str
    groups: Mapping[str, str]
    logins: Mapping[str, tuple[str, str]]

    @property
    def accepted(self) -> tuple[str, str]:
        """The tags that prove a database or group role to be the one that is meant."""
        return self.old_tag, self.new_tag


@dataclass(frozen=True, slots=True)
class DatabaseChange:
    """What an update does to a tenant database, in one transaction.

    Attributes:
        database: The database as it shall be afterwards (name, owner and tag are as before).
        add_extensions: To be created.
        drop_extensions: To be dropped; refused by PostgreSQL while something depends on them.
        logins: The login roles whose limits follow the plan.
    """

    database: DatabaseSpec
    add_extensions: tuple[str, ...]
    drop_extensions: tuple[str, ...]
    logins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoginSpec:
    """One login role: the credentials of one binding.

    Attributes:
        name: The role.
        database: The only database it may connect to; also the read-only group role's name.
        owner: The database's owner role.
        access: Member of the owner role, or of the read-only one.
        verifier: The SCRAM verifier; ``None`` leaves the password of a role that exists.
        limits: The plan's limits; those per login apply.
        tag: What ``COMMENT ON ROLE`` begins with.
        valid_until: When PostgreSQL stops accepting the password.
        record: What its binding is, sealed: follows the tag in the comment.
    """

    name: str
    database: str
    owner: str
    access: Access
    verifier: Secret | None
    limits: Limits
    tag: str
    valid_until: datetime | None = None
    record: str | None = None

    @property
    def group(self) -> str:
        """The role whose privileges this login uses."""
        return self.owner if self.access is Access.WRITE else self.database

    @property
    def comment(self) -> str:
        """What ``COMMENT ON ROLE`` says."""
        return comment(self.tag, self.record)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a tenant reaches a server.

    Attributes:
        host: Name or address as the tenant's network sees it.
        port: TCP port.
        sslmode: libpq's ``sslmode``: what the tenant should insist on.
        ca_certificate: PEM of the authority that signed the server's certificate.
    """

    host: str
    port: int
    sslmode: str = "prefer"
    ca_certificate: str | None = None
