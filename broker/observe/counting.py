"""The observers that count what each service does, as metrics of its process.

A counter counts since the process began; a tracker whose store was deleted counts again what it reads again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from time import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from typing_extensions import override

from broker.observe.metrics import Metrics, StorageMetrics
from broker.observe.observers import ArchiveObserver, DoorObserver, RouterObserver, SessionObserver, TrackerObserver

_DELIVERY_BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Seconds. Most take 0.05 to 0.5; a takeover 0.5 to 5; above 10 a transaction timed out."""
_ACKNOWLEDGE_BUCKETS = (0.1, 0.5, 1, 5, 30, 60, 300, 900, 3_600, 14_400, 86_400, 604_800)
"""Seconds: programs take one, officers hours, a bureau that is away days."""
_TRANSACTION_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds, up to the transaction time-out."""

_ARCHIVE_SECONDS_MAX = 120.0
"""A commit of 16 MiB waits for its disk; looking for ends that should be there takes 30 s."""


class RouterMetrics(StorageMetrics, RouterObserver, SessionObserver):
    """Counts what a router does.

    Args:
        metrics: of the process.
        withheld_reasons: every `WithheldReason`.
        reject_reasons: every `RejectReason`; a metric that begins at 0 shows its first rise.
    """

    def __init__(self, metrics: Metrics, *, withheld_reasons: Iterable[str], reject_reasons: Iterable[str]) -> None:
        registry = metrics.registry
        super().__init__(registry, metrics.service)
        self._consumed = Counter(
            "noticewire_consumed_records", "Feed records entered in the ledger.", ("feed", "kind"), registry=registry
        )
        self._delivered = Counter(
            "noticewire_delivered_records", "Records put into inboxes.", ("what",), registry=registry
        )
        self._withheld = Counter(
            "noticewire_withheld_deliveries",
            "Deliveries that a rule took from a bureau.",
            ("reason",),
            registry=registry,
        )
        self._rejected = Counter(
            "noticewire_rejected_records", "Feed records set aside whole.", ("reason",), registry=registry
        )
        self._waited = Histogram(
            "noticewire_publish_to_inbox_seconds",
            "From a record's append to its feed until its deliveries are committed.",
            buckets=_DELIVERY_BUCKETS,
            registry=registry,
        )
        self._transactions = Histogram(
            "noticewire_transaction_seconds",
            "From begin to commit of a router's transactions.",
            buckets=_TRANSACTION_BUCKETS,
            registry=registry,
        )
        self._failures = Counter(
            "noticewire_transaction_failures",
            "Router's transactions that were not committed, or of which nobody knows.",
            ("code",),
            registry=registry,
        )
        self._skew = Gauge(
            "noticewire_clock_skew_seconds",
            "By how much our clock and Kafka's differ, as of the last transaction.",
            registry=registry,
        )
        for reason in withheld_reasons:
            self._withheld.labels(reason)
        for reason in reject_reasons:
            self._rejected.labels(reason)
        for code in ("fenced", "unavailable"):
            self._failures.labels(code)

    @override
    def entered(
        self,
        *,
        feed: str,
        kind: str,
        delivered: int,
        ended: int,
        outcomes: int,
        withheld: Mapping[str, int],
        reason: str | None,
        waited_seconds: float,
    ) -> None:
        self._consumed.labels(feed, kind).inc()
        for what, count in (("message", delivered), ("notice_of_end", ended), ("outcome", outcomes)):
            if count:
                self._delivered.labels(what).inc(count)
        for rule, count in withheld.items():
            self._withheld.labels(rule).inc(count)
        if reason is not None:
            self._rejected.labels(reason).inc()
        if delivered or ended:
            self._waited.observe(max(0.0, waited_seconds))

    @override
    def clock(self, skew_seconds: float) -> None:
        self._skew.set(abs(skew_seconds))

    @override
    def committed(self, seconds: float) -> None:
        self._transactions.observe(seconds)

    @override
    def failed(self, code: str) -> None:
        self._failures.labels(code).inc()


class TrackerMetrics(StorageMetrics, TrackerObserver):
    """Counts what a tracker does.

    Args:
        metrics: of the process.
        stages: every `Stage`.
        reasons: why a receipt may not count.
        decline_reasons: every `DeclineReason`.
    """

    def __init__(
        self, metrics: Metrics, *, stages: Iterable[str], reasons: Iterable[str], decline_reasons: Iterable[str]
    ) -> None:
        registry = metrics.registry
        super().__init__(registry, metrics.service)
        self._read = Counter(
            "noticewire_tracked_records", "Records read into the tracker's store.", ("log",), registry=registry
        )
        self._counted = Counter(
            "noticewire_acknowledged_receipts", "Receipts that count, by stage.", ("stage",), registry=registry
        )
        self._declined = Counter(
            "noticewire_declined_receipts", "Receipts in which a bureau declines.", ("reason",), registry=registry
        )
        self._not_counted = Counter(
            "noticewire_uncounted_receipts", "Receipts that do not count.", ("reason",), registry=registry
        )
        self._acknowledged = Histogram(
            "noticewire_publish_to_acknowledged_seconds",
            "From a message's append to its feed until a bureau's first receipt.",
            buckets=_ACKNOWLEDGE_BUCKETS,
            registry=registry,
        )
        for metric, labels in (
            (self._counted, stages),
            (self._not_counted, reasons),
            (self._declined, decline_reasons),
        ):
            for label in labels:
                metric.labels(label)

    @override
    def read(self, log: str, records: int) -> None:
        self._read.labels(log).inc(records)

    @override
    def counted(self, stage: str, decline_reason: str | None) -> None:
        self._counted.labels(stage).inc()
        if decline_reason is not None:
            self._declined.labels(decline_reason).inc()

    @override
    def not_counted(self, reason: str) -> None:
        self._not_counted.labels(reason).inc()

    @override
    def acknowledged(self, seconds: float) -> None:
        self._acknowledged.observe(max(0.0, seconds))


class ArchiveMetrics(StorageMetrics, ArchiveObserver):
    """Counts what the archive does."""

    def __init__(self, metrics: Metrics) -> None:
        registry = metrics.registry
        super().__init__(registry, metrics.service)
        self._health = metrics.health
        self._rows = Counter(
            "noticewire_archived_records", "Offsets archived: records, markers, holes.", ("kind",), registry=registry
        )
        self._leaves = Gauge("noticewire_archive_leaves", "Leaves of the archive's tree.", registry=registry)
        self._committed = Gauge(
            "noticewire_archive_committed_timestamp_seconds", "When the archive last committed.", registry=registry
        )
        self._incidents = Gauge(
            "noticewire_archive_incidents",
            "1 once log and archive contradict each other; a person decides.",
            registry=registry,
        )
        self._caught_up = Gauge(
            "noticewire_archive_caught_up_timestamp_seconds",
            "When the archive last held everything that there was; until it first does, when the process began.",
            registry=registry,
        )
        self._caught_up.set(time())  # as with the lag: from 0 on, each start would be an archive 50 years behind

    def caught_up(self, seconds_ago: float) -> None:
        """Show that everything that was there so long ago is archived."""
        self._caught_up.set(time() - seconds_ago)

    def incident(self) -> None:
        """Show that the archive has stopped, for a person to decide."""
        self._incidents.set(1)
        self._health.ended("the archive")

    @override
    def turned(self) -> None:
        self._health.turned("the archive", within_seconds=_ARCHIVE_SECONDS_MAX)

    @override
    def opened(self, leaves: int) -> None:
        self._leaves.set(leaves)

    @override
    def archived(self, kind: str, rows: int) -> None:
        self._rows.labels(kind).inc(rows)

    @override
    def committed(self, leaves: int) -> None:
        self._leaves.set(leaves)
        self._committed.set(time())


class DoorMetrics(StorageMetrics, DoorObserver):
    """Counts what a producer lets pass and refuses, in whichever process it is."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__(registry, "producer")
        self._published = Counter("noticewire_published_messages", "Messages on their feeds.", registry=registry)
        self._refused = Counter(
            "noticewire_refused_messages", "Messages refused at the door, by code.", ("code",), registry=registry
        )

    @override
    def published(self) -> None:
        self._published.inc()

    @override
    def refused(self, code: str) -> None:
        self._refused.labels(code).inc()
