"""``/metrics``: what on-call sees of a broker at work."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.catalog import BIG
from tests.support.platform import Platform, new_id
from tests.support.process import PASSWORD, USERNAME, running_broker

if TYPE_CHECKING:
    from pathlib import Path


def _metrics(url: str) -> dict[tuple[str, ...], float]:
    """Return the value of each sample, by its name and the values of its labels."""
    text = httpx.get(f"{url}/metrics").text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_there_is_and_what_was_asked_for_is_counted(
    with_all_plans: dict[str, str], tmp_path: Path
) -> None:
    """Instances, bindings, servers and requests: as they are, and as this process has seen them."""
    with (
        running_broker(with_all_plans, tmp_path / "broker.log") as broker,
        Platform(broker.url, (USERNAME, PASSWORD)) as platform,
    ):
        before = _metrics(broker.url)
        assert before["pgbroker_state_up",] == 1
        assert before["pgbroker_server_up", "shared"] == 1
        instance, binding, _ = platform.bound()
        assert platform.fetch(new_id()).status_code == 404
        after = _metrics(broker.url)
        assert after["pgbroker_instances", "ready", "within"] == 1
        assert after["pgbroker_bindings", "ready"] == 1
        assert not [name for name, *_ in after if name.startswith("pgbroker_operation")]
        counted = "pgbroker_request_seconds_count"
        assert after[counted, "PUT", "2xx"] - before.get((counted, "PUT", "2xx"), 0) == 2
        assert after[counted, "GET", "4xx"] - before.get((counted, "GET", "4xx"), 0) == 1
        assert platform.unbind(instance, binding).status_code == 200
        assert platform.deprovision(instance).status_code == 200
        assert platform.deprovision(new_id(), BIG).status_code == 410
        assert ("pgbroker_instances", "ready", "within") not in _metrics(broker.url)
