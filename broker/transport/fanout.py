"""One encoded batch to many inboxes: the hot path.

A notice goes to up to 226 inboxes, and each inbox record has the same bytes. So a batch is built once an audience and
poll, and each inbox is given a copy in which only producer id, epoch and base sequence, and with them the CRC, are set
anew: a tenth of the client's CPU for a delivery, or less (`bench/fanout.py`). aiokafka's sequence numbers, retries and
transactions stay in use, because `send_batch` takes any object that has `BatchBuilder`'s methods.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

import google_crc32c
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from broker.errors import RefusedError
from broker.transport.batches import COUNT_AT, CRC_AT, CRC_FROM, HEADER, PRODUCER_AT
from broker.transport.kafka import TopicPartition

_CRC = struct.Struct(">I")
_PRODUCER = struct.Struct(">qhi")  # bytes 43 to 56: producer id, epoch, base sequence

BATCH_BYTES = 900_000
"""Where a batch is split, before compression: below what every topic takes (1,048,588), whatever the codec achieves."""


class Compression(IntEnum):
    """What a batch's attributes call it."""

    NONE = 0
    """For whatever bureaus write: those topics store it uncompressed anyway, and the broker would unpack it first."""
    LZ4 = 3
    ZSTD = 4
    """The default: about as fast as lz4, and smaller (`bench/fanout.py` shows both)."""


class TooLargeError(RefusedError):
    """A record is larger than its topic takes; found before anything was sent."""

    code = "too_large"

    def __init__(self, size_bytes: int, limit_bytes: int, where: str) -> None:
        super().__init__(f"{where}: a record of {size_bytes} bytes is over the limit of {limit_bytes}")
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One record to be written."""

    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()

    @property
    def size_bytes(self) -> int:
        """At most so many bytes in a batch of its own, uncompressed, the batch's header included."""
        return DefaultRecordBatchBuilder.estimate_size_in_bytes(self.key, self.value, list(self.headers))


class BatchTemplate:
    """The bytes of a transactional batch, built once, without producer, sequence and CRC.

    Args:
        batch: as aiokafka's builder made it.
        count: how many records it holds.
    """

    __slots__ = ("_between", "_crc_between", "_front", "_rest", "count", "size")

    def __init__(self, batch: bytes, count: int) -> None:
        self._front = batch[:CRC_AT]
        self._between = batch[CRC_FROM:PRODUCER_AT]
        self._rest = batch[COUNT_AT:]
        self._crc_between: int = google_crc32c.value(self._between)
        self.count = count
        self.size = len(batch)

    @classmethod
    def of(cls, records: Sequence[Outgoing], *, compression: Compression, transactional: bool = True) -> BatchTemplate:
        """Encode and compress records, all of them in one batch."""
        builder = DefaultRecordBatchBuilder(
            magic=2,
            compression_type=compression,
            is_transactional=int(transactional),
            producer_id=0,
            producer_epoch=0,
            base_sequence=0,
            batch_size=2**31 - 1,
        )
        for offset, record in enumerate(records):
            builder.append(offset, None, record.key, record.value, list(record.headers))
        return cls(bytes(builder.build()), len(records))

    def copy_for(self, producer_id: int, epoch: int, sequence: int) -> bytes:
        """Return the batch as one producer's, with its place in the sequence of one partition."""
        producer = _PRODUCER.pack(producer_id, epoch, sequence)
        crc = google_crc32c.extend(google_crc32c.extend(self._crc_between, producer), self._rest)
        return b"".join((self._front, _CRC.pack(crc), self._between, producer, self._rest))


class CopiedBatch:
    """What `send_batch` needs of a batch: the methods of aiokafka's `BatchBuilder`, over a template."""

    __slots__ = ("_bytes", "_template")

    def __init__(self, template: BatchTemplate) -> None:
        self._template = template
        self._bytes: bytes | None = None

    def _set_producer_state(self, producer_id: int, producer_epoch: int, base_sequence: int) -> None:
        """Make the copy; called once, when the batch is taken out to be sent. A repetition sends the same bytes."""
        self._bytes = self._template.copy_for(producer_id, producer_epoch, base_sequence)

    def _build(self) -> bytes:
        if self._bytes is None:
            raise RuntimeError("a batch was to be sent before it had a producer")
        return self._bytes

    def size(self) -> int:
        """Return its bytes."""
        return self._template.size

    def record_count(self) -> int:
        """Return how many records it holds, by which the partition's sequence goes on."""
        return self._template.count

    def closed(self) -> bool:
        """Return that it waits for no more records, so it is sent at once."""
        return True

    def close(self) -> None:
        """Do nothing: it is closed."""

    def append(self, **_: object) -> None:
        """Take no record."""


def templates(
    records: Sequence[Outgoing],
    *,
    limit_bytes: int,
    compression: Compression = Compression.ZSTD,
    batch_bytes: int = BATCH_BYTES,
    where: str = "fan-out",
) -> list[BatchTemplate]:
    """Encode records into as few batches as their sizes allow, in order.

    Args:
        records: at least one.
        limit_bytes: the largest record, uncompressed; alone in its batch if above `batch_bytes`.
        compression: of the batches.
        batch_bytes: where a batch is split, before compression.
        where: names the target in an error.

    Raises:
        TooLargeError: one of the records is over the limit; nothing was sent.
    """
    found: list[BatchTemplate] = []
    together: list[Outgoing] = []
    size = HEADER.size
    for record in records:
        record_bytes = record.size_bytes
        if record_bytes > limit_bytes:
            raise TooLargeError(record_bytes, limit_bytes, where)
        record_bytes -= HEADER.size
        if together and size + record_bytes > batch_bytes:
            found.append(BatchTemplate.of(together, compression=compression))
            together, size = [], HEADER.size
        together.append(record)
        size += record_bytes
    if together:
        found.append(BatchTemplate.of(together, compression=compression))
    return found


def plan(
    writes: Mapping[TopicPartition, Sequence[Outgoing]],
    *,
    limit_bytes: int,
    compression: Compression = Compression.ZSTD,
    batch_bytes: int = BATCH_BYTES,
) -> list[tuple[BatchTemplate, list[TopicPartition]]]:
    """Build each distinct sequence of records once, and say who gets it.

    Two targets share a batch when their sequences hold the same objects in the same order: equality would have to
    compare bytes, and the router makes one object a record anyway. The batches of one target come in the order of its
    records.

    Args:
        writes: what each partition gets; give targets of one audience the same sequence object, which is cheapest.
        limit_bytes: see `templates`.
        compression: see `templates`.
        batch_bytes: see `templates`.

    Raises:
        TooLargeError: one of the records is over the limit; nothing was sent.
    """
    audiences: dict[tuple[int, ...], tuple[Sequence[Outgoing], list[TopicPartition]]] = {}
    keys: dict[int, tuple[int, ...]] = {}
    for target, records in writes.items():
        if not records:
            continue
        key = keys.get(id(records))
        if key is None:
            key = keys[id(records)] = tuple(map(id, records))
        audiences.setdefault(key, (records, []))[1].append(target)
    return [
        (template, targets)
        for records, targets in audiences.values()
        for template in templates(
            records, limit_bytes=limit_bytes, compression=compression, batch_bytes=batch_bytes, where=str(targets[0])
        )
    ]
