"""The life of an instance, as platforms go through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.platform import can_connect, new_id, rows

if TYPE_CHECKING:
    from tests.support.platform import Platform


def test_the_whole_life(kubernetes: Platform) -> None:
    """Provision, bind, use, unbind, deprovision: each answers as the specification says."""
    instance, binding = new_id(), new_id()
    provisioned = kubernetes.provision(instance)
    assert (provisioned.status_code, provisioned.json()) == (201, {})
    bound = kubernetes.bind(instance, binding)
    assert bound.status_code == 201
    credentials = bound.json()["credentials"]
    rows(credentials, "CREATE TABLE t AS SELECT 42 AS a")
    assert rows(credentials, "SELECT a FROM t") == [(42,)]
    unbound = kubernetes.unbind(instance, binding)
    assert (unbound.status_code, unbound.json()) == (200, {})
    assert not can_connect(credentials)
    deprovisioned = kubernetes.deprovision(instance)
    assert (deprovisioned.status_code, deprovisioned.json()) == (200, {})
    for gone in (kubernetes.unbind(instance, binding), kubernetes.deprovision(instance)):
        assert gone.status_code == 410
