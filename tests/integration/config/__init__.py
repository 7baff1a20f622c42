"""The configuration against a real PostgreSQL."""
