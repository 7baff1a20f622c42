"""Good configuration, and a way to spoil it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from broker.config import ConfigurationError, load_settings, parse_catalog

if TYPE_CHECKING:
    from broker.config import Problem
    from broker.domain.catalog import Plan

CATALOG = """\
offerings:
  - id: offering-id
    name: postgres
    description: A database.
    plans:
      - id: small-id
        name: small
        description: A small one.
        update_to: [big]
        limits:
          connections: 5
      - id: big-id
        name: big
        description: A big one.
        limits:
          connections: 50
          connections_per_binding: 20
        extensions:
          allowed: [citext, hstore]
          default: [hstore]
        bindings:
          default_role: read-only
          time_to_live: 90d
          renew_before: 7d
"""


def edited(text: str, old: str, new: str) -> str:
    """Replace what has to be there."""
    assert old in text
    return text.replace(old, new, 1)


def only_plan(fields: str) -> Plan:
    """Return the plan of a catalog with one plan that has these further lines."""
    head = CATALOG[: CATALOG.index("        update_to")]
    return parse_catalog(head + fields, "catalog.yaml").offerings[0].plans[0]


def problems_of(text: str) -> tuple[Problem, ...]:
    """Return what is wrong with a catalog that must be refused."""
    with pytest.raises(ConfigurationError) as refusal:
        parse_catalog(text, "catalog.yaml")
    return refusal.value.problems


def problem_of(text: str) -> str:
    """Return the one thing that is wrong with a catalog."""
    (problem,) = problems_of(text)
    return str(problem)


def prefixed(variables: dict[str, str]) -> dict[str, str]:
    """Return environment variables by their names without the prefix."""
    return {f"PGBROKER_{name}": value for name, value in variables.items()}


def environment_problems(environ: dict[str, str]) -> list[str]:
    """Return what is wrong with an environment that must be refused."""
    with pytest.raises(ConfigurationError) as refusal:
        load_settings(environ)
    return [str(problem) for problem in refusal.value.problems]
