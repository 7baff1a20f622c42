"""The catalog of a run: one plan for each thing that may happen to a database."""

from __future__ import annotations

from tests.support.catalog import BIG, SERVICE, SLOW, SMALL

KEPT = "5e1f00c1-kept"
BRIEF = "5e1f00c2-brief"

CATALOG = f"""\
x-limits: &limits {{connections: 5, connections_per_binding: 2}}
x-extensions: &extensions {{allowed: [citext, hstore, pg_trgm], default: [citext]}}

offerings:
  - id: {SERVICE}
    name: postgres
    description: Databases in turmoil.
    plans:
      - id: {SMALL}
        name: small
        description: Two of them are kept ready.
        warm: 2
        update_to: [big]
        limits: *limits
        extensions: *extensions
      - id: {BIG}
        name: big
        description: What a small one may become.
        limits: {{connections: 10, connections_per_binding: 5}}
        extensions: *extensions
      - id: {SLOW}
        name: slow
        description: Never quick, so platforms have to poll.
        asynchronous: true
        maximum_polling_duration: 600
        limits: *limits
        extensions: {{allowed: [citext]}}
      - id: {KEPT}
        name: kept
        description: Its databases are kept, and can be had again.
        deleted_retention: 7d
        limits: *limits
        extensions: {{allowed: [hstore, pg_trgm]}}
      - id: {BRIEF}
        name: brief
        description: Its credentials end before anybody could use them.
        limits: *limits
        bindings: {{time_to_live: 1s}}
"""
