"""Reconciling and recovering, on a real server with a state of each test's own."""
