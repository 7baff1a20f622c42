"""A catalog whose plans keep what is deleted, and one plan that does not."""

from __future__ import annotations

from tests.support.catalog import SERVICE
from tests.support.catalog import SMALL as KEEPING

FORGETTING = "de1e7ed2-forgetting"
TINY = "de1e7ed3-tiny"
PLAIN = "de1e7ed4-plain"
ELSEWHERE = "de1e7ed5-elsewhere"
OTHER_SERVICE = "de1e7ee0-service"
OTHER_PLAN = "de1e7ee1-plan"

CATALOG = f"""\
x-limits: &limits
  connections: 5
  connections_per_binding: 2
  storage: 1GiB
x-extensions: &extensions
  allowed: [citext, hstore, there_is_no_such_extension]

offerings:
  - id: {SERVICE}
    name: postgres
    description: Databases that are kept for a while.
    plans:
      - id: {KEEPING}
        name: keeping
        description: Its databases are kept.
        deleted_retention: 7d
        limits: *limits
        extensions: *extensions
      - id: {FORGETTING}
        name: forgetting
        description: Its databases are not.
        limits: {{connections: 9}}
        extensions: *extensions
      - id: {TINY}
        name: tiny
        description: Too small even for an empty database.
        deleted_retention: 7d
        limits: {{connections: 5, storage: 1MiB}}
        extensions: *extensions
      - id: {PLAIN}
        name: plain
        description: Has no extensions.
        deleted_retention: 7d
        limits: *limits
      - id: {ELSEWHERE}
        name: elsewhere
        description: On servers of another pool.
        pool: other
        limits: *limits
        extensions: *extensions
  - id: {OTHER_SERVICE}
    name: other
    description: Another offering that keeps what is deleted.
    plans:
      - id: {OTHER_PLAN}
        name: only
        description: Its only plan.
        deleted_retention: 1h
        limits: *limits
        extensions: *extensions
"""
