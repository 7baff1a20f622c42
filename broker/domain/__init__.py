"""What the broker knows and decides, without doing anything.

Belongs here: the vocabulary of the Open Service Broker API and of PostgreSQL databases as plain
dataclasses, and decisions over them as pure functions.

Banned here: I/O, clocks read behind the caller's back, HTTP status codes, SQL, and every import
from outside the standard library.
"""
