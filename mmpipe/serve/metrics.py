"""What Prometheus may know. No text, no key, no session by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mmpipe.batching import BatcherStats

LAG_BUCKETS_S = (0.25, 0.5, 1, 1.5, 2, 3, 5, 8, 13, 30)


class Metrics:
    """The figures of one server."""

    def __init__(self, stages: Callable[[], Mapping[str, BatcherStats]]) -> None:
        registry = self.registry = CollectorRegistry()
        self.sessions = Gauge("mmpipe_sessions", "Sessions now.", ["client"], registry=registry)
        self.replay_bytes = Gauge("mmpipe_replay_bytes", "Events kept for clients that come back.", registry=registry)
        self.dropped_sessions = Counter(
            "mmpipe_ended_sessions_dropped", "Sessions let go before all was fetched.", registry=registry
        )
        self.refused = Counter("mmpipe_refused", "Clients that were refused, and why.", ["why"], registry=registry)
        self.connections = Gauge("mmpipe_connections", "WebSocket connections now.", registry=registry)
        self.started = Counter("mmpipe_sessions_started", "Sessions begun.", registry=registry)
        self.resumed = Counter("mmpipe_sessions_resumed", "Reconnections to a session.", registry=registry)
        self.ended = Counter("mmpipe_sessions_ended", "Sessions ended.", ["cause"], registry=registry)
        self.closed = Counter("mmpipe_connections_closed", "Connections the server ended.", ["code"], registry=registry)
        self.packets = Counter("mmpipe_packets", "Packets of sound.", ["status"], registry=registry)
        self.heard = Counter("mmpipe_heard_seconds", "Sound received.", registry=registry)
        self.events = Counter("mmpipe_events", "Events of all sessions.", ["type"], registry=registry)
        self.dropped = Counter("mmpipe_dropped", "What was left out under load.", ["what"], registry=registry)
        self.lag = Histogram(
            "mmpipe_lag_seconds", "How far recognition was behind.", buckets=LAG_BUCKETS_S, registry=registry
        )
        registry.register(_Stages(stages))

    def render(self) -> bytes:
        return generate_latest(self.registry)


class _Stages(Collector):
    """The counts of the batchers, read when they are asked for."""

    def __init__(self, stages: Callable[[], Mapping[str, BatcherStats]]) -> None:
        self._stages = stages

    def collect(self) -> Iterator[Metric]:
        found = self._stages()
        for name, text, field in (
            ("mmpipe_stage_items", "Items computed.", "done"),
            ("mmpipe_stage_failures", "Items that failed.", "failed"),
            ("mmpipe_stage_refused", "Items refused, the queue being full.", "refused"),
            ("mmpipe_stage_batches", "Batches.", "batches"),
            ("mmpipe_stage_batched_items", "Items in all batches; over batches: their mean size.", "batched_items"),
            ("mmpipe_stage_wait_seconds", "Spent in the queue, over all items.", "wait_s"),
            ("mmpipe_stage_run_seconds", "Spent computing.", "run_s"),
        ):
            counter = CounterMetricFamily(name, text, labels=["stage"])
            for stage, stats in found.items():
                counter.add_metric([stage], getattr(stats, field))
            yield counter
        queued = GaugeMetricFamily("mmpipe_stage_queued", "Items waiting now.", labels=["stage"])
        for stage, stats in found.items():
            queued.add_metric([stage], stats.queued)
        yield queued
