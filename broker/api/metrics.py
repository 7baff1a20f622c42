"""``/metrics``: what the last reconciliation found, in Prometheus' text format.

It is read from the state database, so that every replica tells the same, whichever looked last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, Gauge, generate_latest

from broker.domain.errors import BrokerError

if TYPE_CHECKING:
    from broker.service.context import Broker
    from broker.service.ports import DriftRecords

router = APIRouter()


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Tell what the last reconciliation found."""
    broker: Broker = request.app.state.broker
    registry = CollectorRegistry()
    up = Gauge("pgbroker_state_up", "Whether the state database can be read.", registry=registry)
    try:
        await _describe(broker.store.drift, registry)
    except BrokerError:
        up.set(0)
    else:
        up.set(1)
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _describe(records: DriftRecords, registry: CollectorRegistry) -> None:
    counts, times = await records.counts(), await records.looked_at()
    drift = Gauge(
        "pgbroker_drift",
        "What the last reconciliation found not to be as it should be.",
        ["server", "kind", "treatment", "resolved"],
        registry=registry,
    )
    for (server, kind, resolved), total in counts.items():
        answer = "true" if resolved else "false"
        drift.labels(server, kind.value, kind.treatment.value, answer).set(total)
    reconciled = Gauge(
        "pgbroker_reconciled_timestamp_seconds",
        "When a server was last compared with the state to the end.",
        ["server"],
        registry=registry,
    )
    for server, moment in times.items():
        reconciled.labels(server).set(moment.timestamp())
