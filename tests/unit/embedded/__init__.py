"""The embedded PostgreSQL, as far as no server is needed."""
