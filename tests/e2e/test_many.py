"""Fifty developers at once, and whose time it takes."""

from __future__ import annotations

import json
import statistics
import time
from typing import TYPE_CHECKING

from tests.e2e.tenants import databases, log_in
from tests.e2e.walkthrough import binding, instance

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.e2e.broker import Broker
    from tests.e2e.cluster.kubectl import Cluster

COUNT = 50
NAMES = [f"db-{number:02}" for number in range(COUNT)]

PART = {"serviceinstance": "/service_instances/", "servicebinding": "/service_bindings/"}
"""What the path of a request that makes one has before the id."""

PATIENCE = 240
"""Seconds for each wave; Service Catalog allows itself five requests a second."""


def test_fifty_at_once(
    namespace: Cluster, broker: Broker, tmp_path: Path, report: Callable[[str], None]
) -> None:
    """Fifty instances and then fifty bindings, applied at once, all work and all go away."""
    before = databases(broker.postgres)
    waves = {
        "serviceinstance": [instance(name) for name in NAMES],
        "servicebinding": [binding(name, name) for name in NAMES],
    }
    for kind, objects in waves.items():
        began, logged = time.monotonic(), len(broker.log_lines())
        namespace.apply(*objects)
        namespace.kubectl(
            *("wait", kind, "--all", "--for=condition=Ready", f"--timeout={PATIENCE}s")
        )
        took = time.monotonic() - began
        ours = milliseconds("PUT", PART[kind], broker.log_lines()[logged:])
        assert len(ours) == COUNT
        report(f"{COUNT} of {kind}: ready after {took:.1f} s; {share(ours)}")
    secrets = [namespace.secret(name) for name in NAMES]
    assert {secret["database"] for secret in secrets} == databases(broker.postgres) - before
    for secret in secrets:
        log_in(secret, tmp_path).close()

    began, logged = time.monotonic(), len(broker.log_lines())
    for kind in reversed(waves):
        namespace.kubectl("delete", kind, "--all", f"--timeout={PATIENCE}s")
    took = time.monotonic() - began
    ours = milliseconds("DELETE", "/v2/", broker.log_lines()[logged:])
    assert len(ours) == 2 * COUNT
    report(f"{COUNT} of each: deleted after {took:.1f} s; {share(ours)}")
    assert databases(broker.postgres) == before


def milliseconds(method: str, part: str, lines: list[str]) -> list[float]:
    """Return what each request of a method took, from the lines of the broker's log.

    Service Catalog goes by a copy of its objects that may be stale, and then sends a request again:
    what is asked for again has been done, and its first request counts.

    Args:
        method: Of the requests.
        part: What their path has in it.
        lines: Of the log.
    """
    took: dict[str, float] = {}
    for entry in map(json.loads, lines):
        if entry.get("method") == method and part in entry["path"]:
            gone = {200, 410} if method == "DELETE" else {200}
            assert entry["path"] not in took or entry["status"] in gone, entry
            took.setdefault(entry["path"], entry["milliseconds"])
    return [*took.values()]


def share(ours: list[float]) -> str:
    """Say how much of it was the broker's."""
    return (
        f"the broker answered each in {statistics.median(ours):.0f} ms (median), "
        f"{max(ours):.0f} ms (slowest), {sum(ours) / 1000:.1f} s one after the other"
    )
