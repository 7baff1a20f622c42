"""From a catalog file to the domain's catalog."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from broker.config import ConfigurationError, load_catalog, parse_catalog
from broker.config.environment import DEFAULT_CATALOG
from broker.domain.catalog import BindingPolicy, Extensions, MaintenanceInfo
from broker.domain.database import Access, Limits

from .examples import CATALOG, only_plan

if TYPE_CHECKING:
    from pathlib import Path


def test_a_plan_with_nothing_but_connections_gets_the_documented_defaults() -> None:
    """Everything optional that is left out has its default."""
    plan = only_plan("        limits: {connections: 5}\n")
    assert plan.limits == Limits(connections=5, connections_per_binding=5)
    assert plan.extensions == Extensions()
    assert plan.bindings == BindingPolicy(
        {"read-write": Access.WRITE, "read-only": Access.READ}, "read-write"
    )
    assert (plan.provider, plan.pool, plan.update_to) == ("shared", "default", ())
    assert (plan.free, plan.bindable, plan.binding_rotatable) == (True, True, True)
    assert (plan.asynchronous, plan.maximum_polling_duration) == (False, None)
    assert plan.maintenance_info is None
    assert plan.metadata == {}


def test_every_field_of_a_plan_is_read() -> None:
    """Every field of the file reaches the domain, units converted."""
    plan = only_plan("""\
        free: false
        bindable: false
        binding_rotatable: false
        maximum_polling_duration: 600
        maintenance_info: {version: 2.0.1-rc.1+build, description: New.}
        metadata: {displayName: P, bullets: [a], anything: {goes: [1, 2.5, null, true]}}
        pool: fast
        asynchronous: true
        limits:
          connections: 10
          connections_per_binding: 4
          storage: 1GiB
          statement_timeout: 60s
          idle_in_transaction_session_timeout: 5m
          temp_file_limit: 512MiB
        extensions: {allowed: [citext, hstore], default: [hstore]}
        bindings:
          roles: {admin: write, viewer: read}
          default_role: viewer
          time_to_live: 90d
          renew_before: 12h
""")
    assert (plan.free, plan.bindable, plan.binding_rotatable) == (False, False, False)
    assert (plan.pool, plan.asynchronous, plan.maximum_polling_duration) == ("fast", True, 600)
    assert plan.maintenance_info == MaintenanceInfo("2.0.1-rc.1+build", "New.")
    assert plan.metadata["anything"] == {"goes": [1, 2.5, None, True]}
    assert plan.limits == Limits(
        connections=10,
        connections_per_binding=4,
        storage=2**30,
        statement_timeout=timedelta(seconds=60),
        idle_in_transaction_session_timeout=timedelta(minutes=5),
        temp_file_limit=512 * 2**20,
    )
    assert plan.extensions == Extensions(("citext", "hstore"), ("hstore",))
    assert plan.bindings == BindingPolicy(
        {"admin": Access.WRITE, "viewer": Access.READ},
        "viewer",
        timedelta(days=90),
        timedelta(hours=12),
    )


def test_an_offering_says_for_its_plans_whether_they_are_bindable() -> None:
    """A plan's own ``bindable`` wins over its offering's."""
    text = CATALOG.replace("    plans:", "    bindable: false\n    plans:").replace(
        "        name: big", "        name: big\n        bindable: true"
    )
    small, big = parse_catalog(text, "catalog.yaml").offerings[0].plans
    assert (small.bindable, big.bindable) == (False, True)


def test_anchors_and_merges_spare_repetition() -> None:
    """An ``x-`` key may hold what several plans share, merged into each and overridable."""
    text = """\
x-limits: &limits
  connections: 5
  storage: 1GiB
offerings:
  - id: o
    name: o
    description: O
    plans:
      - {id: a, name: a, description: A, limits: *limits}
      - {id: b, name: b, description: B, free: &no false, limits: {<<: *limits, connections: 7}}
      - {id: c, name: c, description: C, free: *no, limits: *limits}
"""
    a, b, c = parse_catalog(text, "catalog.yaml").offerings[0].plans
    assert (a.limits.connections, a.limits.storage) == (5, 2**30)
    assert (b.limits.connections, b.limits.storage) == (7, 2**30)
    assert (a.free, b.free, c.free) == (True, False, False)


def test_yaml_is_version_1_2() -> None:
    """Words that YAML 1.1 took for booleans are text."""
    plan = only_plan(
        "        limits: {connections: 5}\n        metadata: {a: yes, b: off, c: NO}\n"
    )
    assert plan.metadata == {"a": "yes", "b": "off", "c": "NO"}


def test_the_catalog_that_comes_with_the_broker_is_good() -> None:
    """The default catalog offers ``postgres-database`` with ``free`` and two larger plans."""
    (offering,) = load_catalog(DEFAULT_CATALOG).offerings
    assert offering.name == "postgres-database"
    assert [plan.name for plan in offering.plans] == ["free", "standard", "large"]
    assert all(plan.metadata["bullets"] and plan.metadata["costs"] for plan in offering.plans)
    assert all(plan.maintenance_info for plan in offering.plans)


def test_a_catalog_that_cannot_be_read_names_the_file(tmp_path: Path) -> None:
    """A missing file is a problem that says which one and why."""
    path = tmp_path / "nowhere.yaml"
    with pytest.raises(ConfigurationError, match="no such file or directory") as refusal:
        load_catalog(path)
    assert str(path) in str(refusal.value)
