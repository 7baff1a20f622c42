"""A catalog with a plan for every case the protocol knows."""

from __future__ import annotations

SERVICE = "5e1f0000-service"
SMALL = "5e1f0001-small"
BIG = "5e1f0002-big"
TINY = "5e1f0003-tiny"
ELSEWHERE = "5e1f0004-elsewhere"
SLOW = "5e1f0005-slow"
EXPIRING = "5e1f0006-expiring"
BRIEF = "5e1f0007-brief"
FIXED = "5e1f0008-fixed"
UNBOUND = "5e1f0009-unbound"
OTHER_SERVICE = "5e1f1000-service"
OTHER_PLAN = "5e1f1001-plan"

CATALOG = f"""\
x-limits: &limits
  connections: 5
  connections_per_binding: 2

offerings:
  - id: {SERVICE}
    name: postgres
    description: Databases for tests.
    plans:
      - id: {SMALL}
        name: small
        description: What most tests use; may move on.
        maintenance_info: {{version: 1.2.3, description: News.}}
        update_to: [big, tiny]
        limits: *limits
        extensions: {{allowed: [citext, hstore, pg_trgm], default: [citext]}}
      - id: {BIG}
        name: big
        description: More of everything, and nowhere to go from here.
        maintenance_info: {{version: 2.0.0}}
        limits: {{connections: 10, connections_per_binding: 5}}
        extensions: {{allowed: [citext, hstore, pg_trgm], default: [citext]}}
      - id: {TINY}
        name: tiny
        description: Too small even for an empty database.
        limits: {{connections: 5, storage: 1MiB}}
        extensions: {{allowed: [citext, hstore, pg_trgm]}}
      - id: {ELSEWHERE}
        name: elsewhere
        description: On servers of another pool.
        pool: other
        limits: *limits
        extensions: {{allowed: [citext, hstore, pg_trgm]}}
      - id: {SLOW}
        name: slow
        description: Never quick, so platforms have to poll.
        asynchronous: true
        maximum_polling_duration: 600
        limits: *limits
        extensions: {{allowed: [citext]}}
      - id: {EXPIRING}
        name: expiring
        description: Its credentials end by themselves.
        limits: *limits
        bindings:
          time_to_live: 90d
          renew_before: 7d
      - id: {BRIEF}
        name: brief
        description: Its credentials end before anybody could use them.
        limits: *limits
        bindings:
          time_to_live: 1s
      - id: {FIXED}
        name: fixed
        description: Its bindings cannot be rotated.
        binding_rotatable: false
        limits: *limits
      - id: {UNBOUND}
        name: unbound
        description: Its instances cannot be bound.
        bindable: false
        limits: *limits
  - id: {OTHER_SERVICE}
    name: other
    description: Another offering.
    plans:
      - id: {OTHER_PLAN}
        name: only
        description: Its only plan.
        limits: *limits
        extensions: {{allowed: [hstore]}}
"""

TIGHT, ROOMY = "5e1f2001-tight", "5e1f2002-roomy"
LIMITED = f"""\
offerings:
  - id: {SERVICE}
    name: postgres
    description: Databases with limits.
    plans:
      - id: {TIGHT}
        name: tight
        description: Soon full.
        update_to: [roomy]
        limits: {{connections: 5, storage: 16MiB}}
        extensions: {{allowed: [citext]}}
      - id: {ROOMY}
        name: roomy
        description: With room.
        limits: {{connections: 5, storage: 100MiB}}
        extensions: {{allowed: [citext]}}
"""
"""Plans with limits: a database is soon full, and a larger plan is there."""


def with_warm(databases: int) -> str:
    """Return the catalog with so many databases of the plan ``small`` kept ready."""
    return CATALOG.replace("name: small\n", f"name: small\n        warm: {databases}\n", 1)
