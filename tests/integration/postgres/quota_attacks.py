"""What a tenant may make before its database is full, and then try, to go on writing."""

from __future__ import annotations

_INSERT = "INSERT INTO t VALUES ('evil');"


def _definer(body: str) -> str:
    return (
        "CREATE FUNCTION evil() RETURNS void LANGUAGE plpgsql SECURITY DEFINER "
        f"AS $$ BEGIN {body} END $$"
    )


PREPARED = {
    "grant to everybody": ("GRANT ALL ON t TO PUBLIC", ""),
    "grant to the login": ("GRANT ALL ON t TO {writer}, {reader}", ""),
    "grant to the group": ("GRANT ALL ON t TO {group}", ""),
    "grant with grant option": (
        "GRANT ALL ON t TO {reader} WITH GRANT OPTION",
        "GRANT ALL ON t TO PUBLIC",
    ),
    "grant on a column": ("GRANT INSERT (a), UPDATE (a) ON t TO PUBLIC", ""),
    "table of a login": ("SET ROLE NONE; CREATE SCHEMA mine; CREATE TABLE mine.t (a text)", ""),
    "table of a reader": (
        "CREATE SCHEMA mine; GRANT ALL ON SCHEMA mine TO {reader}",
        "CREATE TABLE mine.t (a text)",
    ),
    "table of the group": (
        "CREATE SCHEMA mine; GRANT ALL ON SCHEMA mine TO {group}",
        "SET ROLE {group}; CREATE TABLE mine.t (a text)",
    ),
    "schema for everybody": ("CREATE SCHEMA mine; GRANT ALL ON SCHEMA mine TO PUBLIC", ""),
    "view": ("CREATE VIEW v AS SELECT * FROM t; GRANT ALL ON v TO PUBLIC", ""),
    "function": (_definer(_INSERT), ""),
    "function with a setting": (
        _definer(_INSERT) + "; ALTER FUNCTION evil() SET default_transaction_read_only = off",
        "",
    ),
    "function that hides the marks": (
        _definer(_INSERT) + "; ALTER FUNCTION evil() SET application_name = 'mine'",
        "",
    ),
    "function of an extension": (
        "CREATE EXTENSION citext; "
        + _definer(_INSERT)
        + "; ALTER EXTENSION citext ADD FUNCTION evil()",
        "",
    ),
    "function that undoes it": (_definer("ALTER FUNCTION evil() SECURITY DEFINER;"), ""),
    "function that grants": (_definer("GRANT ALL ON t TO PUBLIC;"), ""),
    "procedure": (
        _definer(_INSERT).replace("FUNCTION evil() RETURNS void", "PROCEDURE evil()"),
        "",
    ),
    "trigger": (
        _definer(_INSERT + " RETURN NULL;").replace("void", "trigger")
        + "; CREATE TABLE mine (a text); GRANT DELETE ON mine TO PUBLIC; CREATE TRIGGER evil "
        + "AFTER DELETE ON mine FOR STATEMENT EXECUTE FUNCTION evil()",
        "",
    ),
    "materialized view": (
        "CREATE MATERIALIZED VIEW mine AS SELECT pg_backend_pid()::text AS a",
        "",
    ),
}
"""What a tenant may have made before its database was full: by a writer, and by a reader."""

TRIES = (
    "INSERT INTO t VALUES ('evil')",
    "UPDATE t SET a = 'evil'",
    "INSERT INTO mine.t VALUES ('evil')",
    "CREATE TABLE evil ()",
    "CREATE TABLE mine.evil ()",
    "INSERT INTO v VALUES ('evil')",
    "SELECT evil(); INSERT INTO t VALUES ('evil')",
    "BEGIN READ WRITE; SELECT evil(); COMMIT",
    "CALL evil()",
    "GRANT INSERT ON t TO PUBLIC; INSERT INTO t VALUES ('evil')",
    "DELETE FROM mine",
    "REFRESH MATERIALIZED VIEW mine",
    "ALTER FUNCTION evil() SECURITY DEFINER",
)
