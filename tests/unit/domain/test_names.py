"""Names of databases and roles."""

from __future__ import annotations

import re

from broker.domain.names import database_name, login_name, owner_name

MAX_IDENTIFIER_BYTES = 63
"""PostgreSQL manual, "Identifiers and Key Words"."""


def test_names_need_no_quoting_and_fit() -> None:
    """Names are lower-case identifiers that PostgreSQL neither folds nor cuts."""
    database = database_name()
    for name in (database, owner_name(database), login_name()):
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert len(name) <= MAX_IDENTIFIER_BYTES


def test_names_do_not_repeat() -> None:
    """Names are random, and databases are told from logins at a glance."""
    databases = {database_name() for _ in range(500)}
    logins = {login_name() for _ in range(500)}
    assert len(databases) == len(logins) == 500
    assert {name[0] for name in databases} == {"d"}
    assert {name[0] for name in logins} == {"u"}


def test_an_owner_role_belongs_to_its_database() -> None:
    """The owner role's name tells the database, so that an operator sees what belongs together."""
    assert owner_name("dabc") == "dabc_owner"
