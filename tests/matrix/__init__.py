"""Every supported PostgreSQL version, for ``make test-matrix``.

Belongs here: getting the binaries and running the tests with each of them.
"""
