"""The metrics that several services have; a registry for each process, so that tests share nothing.

Names end in their unit, as Prometheus has it. Labels have few values, all of them ours (shards, reasons, stages):
never a bureau's text, a notice's number or anything of a subject. `docs/operate.md` says what each alert means.
"""

from __future__ import annotations

from time import time

from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from typing_extensions import override

from broker.observe.health import Health
from broker.observe.lag import Lags
from broker.observe.observers import SharingObserver, StorageObserver

disable_created_metrics()  # type: ignore[no-untyped-call] # a second series for each counter, of which nothing of ours makes use

_SHARING_SECONDS_MAX = 30.0
"""How long the sharing of shards may take to come round: usually a fifth of a second."""


class Metrics:
    """What every service has: its health, its lags, its shards.

    Args:
        service: `router`, `tracker`, `audit`, `up`; a label where several have the same metric.
        health: what is alive and ready.
        reads_logs: whether there are lags to be known.
    """

    def __init__(self, service: str, health: Health, *, reads_logs: bool = True) -> None:
        self.registry = CollectorRegistry()
        self.service = service
        self.health = health
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        ready = self.gauge("ready", "Whether the service does what it is for: 1 or 0; /readyz says what is missing.")
        ready.labels(service).set_function(lambda: float(not health.unready()))
        still = self.gauge("loop_still_seconds", "For how long the event loop has stood still.")
        still.labels(service).set_function(lambda: health.still_seconds)
        wedged = self.gauge("wedged", "Whether the event loop or a part of the service turns no more: 1 or 0.")
        wedged.labels(service).set_function(lambda: float(bool(health.wedged())))
        self._steps = self.counter("clock_steps", "Times that the machine's clock jumped by more than a second.")
        self._steps.labels(service)
        self._lag_records = self.gauge("lag_records", "Records between position and end of a log.", "log", "shard")
        self._lag_seconds = self.gauge(
            "lag_seconds", "For how long what is not yet read of a log has been there.", "log", "shard"
        )
        self._sampled = self.gauge("lag_sampled_timestamp_seconds", "When Kafka last said where the logs end.")
        if reads_logs:
            self._sampled.labels(service).set(time())  # an age is counted from the process's beginning
        self._lagging: set[tuple[str, str]] = set()

    def gauge(self, name: str, what: str, *labels: str) -> Gauge:
        """Make a gauge of this process, with the service as its first label."""
        return Gauge(f"noticewire_{name}", what, ("service", *labels), registry=self.registry)

    def counter(self, name: str, what: str, *labels: str) -> Counter:
        """Make a counter of this process, with the service as its first label."""
        return Counter(f"noticewire_{name}", what, ("service", *labels), registry=self.registry)

    def stepped(self) -> None:
        """Count a jump of the clock."""
        self._steps.labels(self.service).inc()

    def lagging(self, lags: Lags, *, now: float, by_shard: bool) -> None:
        """Show the lags as they are now: by shard, or summed up by kind of topic (some 300 partitions)."""
        self._sampled.labels(self.service).set(time())
        records: dict[tuple[str, str], int] = {}
        seconds: dict[tuple[str, str], float] = {}
        for topic, partition in lags:
            log, _, region = topic.partition(".")
            labels = (log, f"{region}-{partition}" if by_shard else "")
            lag = lags.of((topic, partition), now)
            records[labels] = records.get(labels, 0) + lag.records
            seconds[labels] = max(seconds.get(labels, 0.0), lag.seconds)
        for labels in self._lagging - records.keys():  # a shard that went to another member is that one's to tell of
            self._lag_records.remove(self.service, *labels)
            self._lag_seconds.remove(self.service, *labels)
        for labels, value in records.items():
            self._lag_records.labels(self.service, *labels).set(value)
            self._lag_seconds.labels(self.service, *labels).set(seconds[labels])
        self._lagging = set(records)


class StorageMetrics(StorageObserver):
    """Counts the writes that a disk has refused.

    Args:
        registry: of the process.
        service: as in `Metrics`.

    Attributes:
        problems: what keeps files from being written now; nothing once one was.
    """

    def __init__(self, registry: CollectorRegistry, service: str) -> None:
        self._unwritten = Counter(
            "noticewire_storage_failures", "Writes to files of ours that failed.", ("service",), registry=registry
        ).labels(service)
        self.problems: tuple[str, ...] = ()

    @override
    def unwritable(self, problem: str) -> None:
        self._unwritten.inc()
        self.problems = (problem,)

    @override
    def written(self) -> None:
        self.problems = ()


class SharingMetrics(SharingObserver):
    """Counts what happens to shards."""

    def __init__(self, metrics: Metrics) -> None:
        self._service = metrics.service
        self._health = metrics.health
        self._owned = metrics.gauge("shards_owned", "Shards that the group has given to this process.")
        self._ready = metrics.gauge("shards_ready", "Shards of this process that are at work.")
        self._halted = metrics.gauge("shards_halted", "Shards whose history contradicts itself; a person decides.")
        self._fenced = metrics.counter("fencings", "Shards lost to somebody newer, or to a time-out.")
        self._retaken = metrics.counter("shard_retakes", "Shards dropped because something was away, to be retaken.")
        self._evicted = metrics.counter("evictions", "Times that the group has put this process out.")
        for metric in (self._fenced, self._retaken, self._evicted):
            metric.labels(self._service)
        self.state(owned=0, ready=0, halted=0)

    def state(self, *, owned: int, ready: int, halted: int) -> None:
        """Show how many shards there are of each."""
        for gauge, value in ((self._owned, owned), (self._ready, ready), (self._halted, halted)):
            gauge.labels(self._service).set(value)

    @override
    def turned(self) -> None:
        self._health.turned("the sharing of shards", within_seconds=_SHARING_SECONDS_MAX)

    @override
    def fenced(self, shard: str) -> None:
        self._fenced.labels(self._service).inc()

    @override
    def unavailable(self, shard: str) -> None:
        self._retaken.labels(self._service).inc()

    @override
    def evicted(self) -> None:
        self._evicted.labels(self._service).inc()


class SupervisorMetrics:
    """Counts, in `up`, how its services fare, and shows the disk."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry
        self._counted: dict[str, int] = {}
        self._restarts = Counter(
            "noticewire_service_restarts", "Times that a service was started again.", ("name",), registry=registry
        )
        self._failing = Gauge(
            "noticewire_service_failing", "Whether a service keeps dying: 1 or 0.", ("name",), registry=registry
        )
        self._free = Gauge("noticewire_data_free_bytes", "Free space under the data folder.", registry=registry)
        self._size = Gauge("noticewire_data_size_bytes", "Size of the data folder's file system.", registry=registry)

    def service(self, name: str, *, restarts: int, is_failing: bool) -> None:
        """Show how a service fares.

        Args:
            name: `router-0`, `tracker`, `audit`, `kafka`.
            restarts: since the supervisor began.
            is_failing: it keeps dying.
        """
        self._restarts.labels(name).inc(restarts - self._counted.get(name, 0))
        self._counted[name] = restarts
        self._failing.labels(name).set(is_failing)

    def disk(self, *, free_bytes: int, size_bytes: int) -> None:
        """Show the space on the data folder's disk."""
        self._free.set(free_bytes)
        self._size.set(size_bytes)
