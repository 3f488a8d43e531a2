"""What lies on a feed, stretch by stretch: every offset belongs to exactly one arrival, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from broker.clock import from_epoch_ms
from broker.model.naming import Origin
from broker.transport.kafka import TopicPartition
from broker.transport.reader import RawBatch

RawHeaders = tuple[tuple[str | bytes, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A stretch of a feed that gets one ledger entry: one record, or offsets that hold none."""

    origin: Origin
    next_offset: int
    appended_at: datetime
    """By the broker's clock (LogAppendTime)."""


@dataclass(frozen=True, slots=True)
class ArrivedRecord(Arrival):
    """A record, as anybody may have written it."""

    key: bytes | None
    value: bytes | None
    headers: RawHeaders
    is_transactional: bool

    @property
    def size_bytes(self) -> int:
        """About what it takes in a batch."""
        headers = sum(len(key) + len(value or b"") for key, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers


@dataclass(frozen=True, slots=True)
class BrokenBatch(Arrival):
    """A record batch that cannot be parsed; set aside whole."""

    raw: bytes
    problem: str


@dataclass(frozen=True, slots=True)
class NoRecord(Arrival):
    """Offsets that hold no record: a transaction's marker, or a hole within a batch."""


def arrivals(tp: TopicPartition, batches: Iterable[RawBatch], position: int) -> Iterator[Arrival]:
    """Turn what was fetched of a partition into arrivals, from a position on, with no offset left out.

    Args:
        tp: the feed's partition, by its bare name.
        batches: in the order of the log, the first one holding `position`.
        position: the first offset that is not entered yet; a fetch may return a batch that begins before it.
    """
    for batch in batches:
        if batch.next_offset <= position:
            continue
        batch_at = from_epoch_ms(max(batch.max_timestamp_ms, 0))
        if batch.error is not None:
            origin = Origin(tp.topic, tp.partition, max(batch.base_offset, position))
            yield BrokenBatch(origin, batch.next_offset, batch_at, batch.raw, batch.error)
        else:
            at = max(batch.base_offset, position)
            for record in () if batch.is_control else batch.records:
                if record.offset < at:
                    continue
                if record.offset > at:
                    yield NoRecord(Origin(tp.topic, tp.partition, at), record.offset, batch_at)
                at = record.offset + 1
                yield ArrivedRecord(
                    Origin(tp.topic, tp.partition, record.offset),
                    at,
                    from_epoch_ms(record.timestamp_ms),
                    record.key,
                    record.value,
                    record.headers,
                    batch.is_transactional,
                )
            if at < batch.next_offset:
                yield NoRecord(Origin(tp.topic, tp.partition, at), batch.next_offset, batch_at)
        position = batch.next_offset
