"""The whole broker, from outside."""
