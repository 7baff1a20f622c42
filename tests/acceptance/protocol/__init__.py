"""The protocol, from HTTP to PostgreSQL, against the whole broker."""
