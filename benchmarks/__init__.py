"""``make bench``: what the broker costs on top of PostgreSQL.

Belongs here: measuring the program as it is served, and the same SQL by hand beside it, on one
server in one run. Nothing of the broker's own code is imported but its embedded PostgreSQL, the
preparation of a server and the migration of the state database.
"""
