"""``/metrics``: what on-call has to know, in Prometheus' text format.

What concerns the state is read from the state database, so that every replica tells the same. What
concerns requests and the servers' reachability is each process's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Gauge,
    Histogram,
    generate_latest,
)

from broker.domain.errors import BrokerError

if TYPE_CHECKING:
    from broker.service.context import Broker
    from broker.service.ports import DriftRecords, FigureRecords

router = APIRouter()

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class RequestTimes:
    """How long this process's requests have taken, by method and class of status.

    Attributes:
        registry: Holds the histogram.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._histogram = Histogram(
            "pgbroker_request_seconds",
            "How long requests of platforms took until they were answered.",
            ["method", "status"],
            registry=self.registry,
            buckets=_BUCKETS,
        )
        # Looking a child up by its labels takes longer than observing.
        self._children: dict[tuple[str, int], Histogram] = {}

    def observe(self, method: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            method: As it was sent; those that no route has count as ``other``.
            status: Of its answer, 0 when the client had gone.
            seconds: How long it took.
        """
        key = (method if method in _METHODS else "other", status // 100)
        child = self._children.get(key)
        if child is None:
            answered = f"{key[1]}xx" if key[1] else "none"
            child = self._children[key] = self._histogram.labels(key[0], answered)
        child.observe(seconds)


_METHODS = frozenset({"GET", "PUT", "PATCH", "DELETE"})


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Tell what there is, what is under way, and what the last reconciliation found."""
    broker: Broker = request.app.state.broker
    times: RequestTimes = request.app.state.request_times
    registry = CollectorRegistry()
    up = Gauge("pgbroker_state_up", "Whether the state database can be read.", registry=registry)
    servers = Gauge(
        "pgbroker_server_up",
        "Whether a server has answered this process.",
        ["server"],
        registry=registry,
    )
    for server, reachable in broker.servers.reachable().items():
        servers.labels(server).set(reachable)
    try:
        await _describe_figures(broker.store.figures, registry)
        await _describe_drift(broker.store.drift, registry)
    except BrokerError:
        up.set(0)
    else:
        up.set(1)
    text = generate_latest(times.registry) + generate_latest(registry)
    return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _describe_figures(records: FigureRecords, registry: CollectorRegistry) -> None:
    figures = await records.read()

    def gauge(name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(f"pgbroker_{name}", meaning, labels, registry=registry)

    operations = gauge("operations_in_progress", "Operations that are not over yet.", "kind")
    oldest = gauge("operation_oldest_seconds", "Since when the oldest of them is not.", "kind")
    instances = gauge("instances", "Service instances.", "status", "storage")
    bindings = gauge("bindings", "Service bindings.", "status")
    stock = gauge("warm_databases", "Databases of the warm stock.", "state")
    for kind, total in figures.operations.items():
        operations.labels(kind).set(total)
        oldest.labels(kind).set(figures.oldest[kind])
    for (status, storage), total in figures.instances.items():
        instances.labels(status, storage).set(total)
    for status, total in figures.bindings.items():
        bindings.labels(status).set(total)
    for state, total in figures.stock.items():
        stock.labels(state).set(total)


async def _describe_drift(records: DriftRecords, registry: CollectorRegistry) -> None:
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
