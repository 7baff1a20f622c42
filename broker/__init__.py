"""pgbroker: an Open Service Broker for PostgreSQL.

The rooms of the house and who may import whom: ``docs/architecture.md``.
"""

__version__ = "0.1.0"
