"""Carrying out recorded operations.

Belongs here: the steps of each operation, the lease they run under, and the record of how they
ended. A step looks before it acts, so running it again after a crash is harmless.

Banned here: HTTP, SQL and drivers.
"""
