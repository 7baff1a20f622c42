"""The engine against a real server, and tenants who attack it."""
