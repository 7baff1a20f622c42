"""The engine: what happens on one PostgreSQL server, in SQL.

Belongs here: statements, the order in which they are run, and what their SQLSTATEs mean.

Banned here: HTTP, the broker's own state, and the choice of a server. SQL text lives in
``statements.py`` and ``*_statements.py`` only, and names and values reach it only through
``psycopg.sql``.
"""
