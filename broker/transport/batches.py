"""Record batches as they lie in the log: every offset, markers, aborted and broken ones too.

The format is Kafka's record batch, version 2 (kafka.apache.org, "Message format"); a header of 61 bytes:

    0 base offset (8) · 8 length of what follows (4) · 12 leader epoch (4) · 16 magic (1) · 17 CRC-32C of 21.. (4) ·
    21 attributes (2) · 23 last offset delta (4) · 27 first timestamp (8) · 35 largest timestamp (8) ·
    43 producer id (8) · 51 producer epoch (2) · 53 base sequence (4) · 57 number of records (4)

The CRC covers neither base offset nor leader epoch, which the broker writes in place.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

import cramjam
import google_crc32c
from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch

from broker.errors import CorruptHistoryError

HEADER = struct.Struct(">qiibIhiqqqhii")
"""The whole header of a batch, 61 bytes."""

CRC_AT, CRC_FROM, PRODUCER_AT, COUNT_AT = 17, 21, 43, 57

UNPACKED_BYTES_MAX = 64 << 20
"""What a batch may unpack to. Far above anything a broker takes (1 MB a record), far below what would hurt."""

_SPACE_BYTES = 1 << 16

_CODEC, _LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_XERIAL = b"\x82SNAPPY\x00"
_LENGTH_FROM = 12  # the length counts what follows itself
_MAGIC_AT = 16
_MAGIC = 2


class _Codec(IntEnum):
    """How a batch's records are compressed: the attributes' lowest three bits."""

    NONE = 0
    GZIP = 1
    SNAPPY = 2
    LZ4 = 3
    ZSTD = 4


class Marker(StrEnum):
    """How a transaction ended, in the partition where it wrote."""

    ABORT = "abort"
    COMMIT = "commit"


@dataclass(slots=True)
class RawRecord:
    """One record, with whatever bytes it has."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str | bytes, bytes | None], ...]
    """A name that is not UTF-8 stays bytes."""


@dataclass(slots=True)
class RawBatch:
    """A stretch of the log: offsets `base_offset` up to, not including, `next_offset`.

    `records` leaves out those before the position that was read from (which may lie within a batch), and, of a
    read_committed reading, those of aborted transactions unless they were asked for.
    """

    base_offset: int
    next_offset: int
    is_control: bool = False
    is_transactional: bool = False
    is_aborted: bool = False
    """Its transaction was aborted; known only when read_committed."""
    marker: Marker | None = None
    """Which, if `is_control`."""
    producer_id: int = -1
    producer_epoch: int = -1
    base_sequence: int = -1
    crc: int = 0
    attributes: int = 0
    max_timestamp_ms: int = -1
    count: int = 0
    """How many records it says it holds."""
    records: list[RawRecord] = field(default_factory=list)
    error: str | None = None
    """Why its records cannot be read; no value of them."""
    raw: bytes = b""
    """The batch's bytes, where they were asked for, or where `error` says that nothing else can be had of it."""

    @property
    def timestamp_type(self) -> int:
        """0: the sender's clock (CreateTime); 1: the broker's (LogAppendTime)."""
        return int(bool(self.attributes & _LOG_APPEND_TIME))


def parse(
    data: bytes,
    position: int,
    *,
    place: str,
    aborted: tuple[tuple[int, int], ...] = (),
    keep_raw: bool = False,
    keep_aborted: bool = False,
) -> Iterator[RawBatch]:
    """Read every whole batch of a fetch's answer; one that is cut off at the end is left for the next fetch.

    Args:
        data: what the leader sent.
        position: the offset that was asked for.
        place: the partition, for errors.
        aborted: producer id and first offset of each aborted transaction, from the same answer.
        keep_raw: keep each batch's bytes.
        keep_aborted: read the records of aborted transactions, too.

    Raises:
        CorruptHistoryError: offsets are missing between `position` and the first batch, or between two batches.
    """
    beginning = sorted(aborted, key=lambda transaction: transaction[1])
    aborting: set[int] = set()
    upcoming = position
    for raw in _frames(data, place):
        batch = _head(raw)
        if batch.next_offset <= position:
            continue  # the answer begins with the segment's entry before the position
        if batch.base_offset > upcoming:
            problem = f"the log goes on at {batch.base_offset}: offsets are missing"
            raise CorruptHistoryError(f"{place}/{upcoming}", problem)
        if batch.next_offset <= upcoming:
            raise CorruptHistoryError(f"{place}/{upcoming}", f"a batch ends at {batch.next_offset} and lies after it")
        upcoming = batch.next_offset
        while beginning and beginning[0][1] <= batch.base_offset:
            aborting.add(beginning.pop(0)[0])
        batch.is_aborted = batch.is_transactional and not batch.is_control and batch.producer_id in aborting
        if batch.error is None and (keep_aborted or not batch.is_aborted):
            _fill(batch, raw, position)
        if batch.marker is Marker.ABORT:
            aborting.discard(batch.producer_id)
        if keep_raw or batch.error is not None:
            batch.raw = raw
        yield batch


def lone_batch(record: RawRecord) -> bytes:
    """Return a record as an uncompressed batch of its own, which `parse` reads, whatever its headers are named."""
    fields = [_as_field(record.key), _as_field(record.value), _as_varint(len(record.headers))]
    for name, header in record.headers:
        fields += (_as_field(name.encode() if isinstance(name, str) else name), _as_field(header))
    body = b"\0\0\0" + b"".join(fields)  # no attributes; timestamp and offset are the batch's own
    payload = _as_varint(len(body)) + body
    at = record.timestamp_ms
    batch = bytearray(
        HEADER.pack(record.offset, 0, -1, _MAGIC, 0, _LOG_APPEND_TIME, 0, at, at, -1, -1, -1, 1) + payload
    )
    batch[8:_LENGTH_FROM] = (len(batch) - _LENGTH_FROM).to_bytes(4, "big")
    batch[CRC_AT:CRC_FROM] = google_crc32c.value(bytes(batch[CRC_FROM:])).to_bytes(4, "big")
    return bytes(batch)


def _as_field(content: bytes | None) -> bytes:
    """Write bytes with their length before them; none as the length -1."""
    return _as_varint(-1) if content is None else _as_varint(len(content)) + content


def _as_varint(number: int) -> bytes:
    """Write a zigzag varint."""
    rest = number << 1 if number >= 0 else (-number << 1) - 1
    out = bytearray()
    while rest > 0x7F:  # noqa: PLR2004 - seven bits a byte
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def _frames(data: bytes, place: str) -> Iterator[bytes]:
    """Cut an answer into whole batches by their lengths."""
    view = memoryview(data)
    at = 0
    while len(data) - at > _MAGIC_AT:
        length = int.from_bytes(data[at + 8 : at + _LENGTH_FROM], "big", signed=True)
        end = at + _LENGTH_FROM + length
        if length < 0:
            raise CorruptHistoryError(place, f"a batch says that it is {length} bytes long")
        if end > len(data):
            return
        yield bytes(view[at:end])
        at = end


def _head(raw: bytes) -> RawBatch:
    """Read a batch's header; what cannot be one is a batch with an error."""
    base_offset = int.from_bytes(raw[:8], "big", signed=True)
    if raw[_MAGIC_AT] != _MAGIC or len(raw) < HEADER.size:
        # Kafka 4 keeps no older format; a message set's one offset is all that can be said of it.
        return RawBatch(base_offset, base_offset + 1, error=f"magic byte {raw[_MAGIC_AT]}, {len(raw)} bytes")
    (_, _, _, _, crc, attributes, last_delta, _, max_timestamp, producer_id, epoch, sequence, count) = (
        HEADER.unpack_from(raw)
    )
    batch = RawBatch(
        base_offset,
        base_offset + last_delta + 1,
        is_control=bool(attributes & _CONTROL),
        is_transactional=bool(attributes & _TRANSACTIONAL),
        producer_id=producer_id,
        producer_epoch=epoch,
        base_sequence=sequence,
        crc=crc,
        attributes=attributes,
        max_timestamp_ms=max_timestamp,
        count=count,
    )
    if google_crc32c.value(raw[CRC_FROM:]) != crc:
        batch.error = "the CRC-32C does not fit the bytes"
    return batch


def _fill(batch: RawBatch, raw: bytes, position: int) -> None:
    """Read a batch's records, or say in its `error` why they cannot be."""
    try:
        payload = _unpack(raw[HEADER.size :], batch.attributes & _CODEC)
        records = _records(batch, raw, payload)
        _check_offsets(batch, records)
    except _UnreadableError as error:
        batch.error = str(error)
        return
    if batch.is_control:
        # Key: version (2 bytes), type (2 bytes): 0 abort, 1 commit.
        kind = (records[0].key or b"")[2:4] if records else b""
        batch.marker = {b"\0\0": Marker.ABORT, b"\0\1": Marker.COMMIT}.get(kind)
    elif batch.base_offset < position:
        records = [record for record in records if record.offset >= position]
    batch.records = records


class _UnreadableError(Exception):
    """The batch's records cannot be read; says why, without quoting them."""


def _records(batch: RawBatch, raw: bytes, payload: bytes) -> list[RawRecord]:
    """Parse with aiokafka's compiled parser, and with our own what it gives up on: names that are not UTF-8."""
    if batch.attributes & _CODEC:
        plain = bytearray(raw[: HEADER.size])
        plain[CRC_FROM + 1] &= ~_CODEC & 0xFF
        raw = bytes(plain) + payload
    try:
        return [
            RawRecord(record.offset, record.timestamp, record.key, record.value, tuple(record.headers))
            for record in DefaultRecordBatch(raw)
        ]
    except (CorruptRecordException, ValueError, IndexError, OverflowError, MemoryError):
        return _records_by_hand(batch, payload, int.from_bytes(raw[27:35], "big", signed=True))


def _records_by_hand(batch: RawBatch, data: bytes, first_timestamp: int) -> list[RawRecord]:
    """Parse records one field at a time; header names stay bytes where they are not UTF-8."""
    at = 0
    records = []
    try:
        for _ in range(batch.count):
            length, at = _varint(data, at)
            end = at + length
            at += 1  # attributes: none are defined
            timestamp_delta, at = _varint(data, at)
            offset_delta, at = _varint(data, at)
            key, at = _bytes(data, at)
            value, at = _bytes(data, at)
            header_count, at = _varint(data, at)
            if header_count < 0:
                raise _UnreadableError("a record has less than no headers")
            headers: list[tuple[str | bytes, bytes | None]] = []
            for _ in range(header_count):
                name, at = _bytes(data, at)
                header, at = _bytes(data, at)
                headers.append((_name(name), header))
            if at != end:
                raise _UnreadableError("a record's length does not fit its fields")
            timestamp = batch.max_timestamp_ms if batch.timestamp_type else first_timestamp + timestamp_delta
            records.append(RawRecord(batch.base_offset + offset_delta, timestamp, key, value, tuple(headers)))
    except IndexError:
        raise _UnreadableError("a record goes on beyond the batch's end") from None
    if at != len(data):
        raise _UnreadableError("bytes are left over after the last record")
    return records


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a zigzag varint of up to ten bytes; return it and where it ends."""
    result = shift = 0
    while True:
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the format's own bit: more bytes follow
            return (result >> 1) ^ -(result & 1), at
        shift += 7
        if shift >= 70:  # noqa: PLR2004 - ten bytes hold 64 bits
            raise _UnreadableError("a number is longer than ten bytes")


def _bytes(data: bytes, at: int) -> tuple[bytes | None, int]:
    """Read bytes with their length before them; -1 is none."""
    length, at = _varint(data, at)
    if length < 0:
        return None, at
    if at + length > len(data):
        raise _UnreadableError("a field goes on beyond the batch's end")
    return data[at : at + length], at + length


def _name(name: bytes | None) -> str | bytes:
    if name is None:
        raise _UnreadableError("a header has no name")
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name


def _check_offsets(batch: RawBatch, records: list[RawRecord]) -> None:
    """See that the records lie in the batch, in order: a broker does not check it of an uncompressed one."""
    last = batch.base_offset - 1
    for record in records:
        if not last < record.offset < batch.next_offset:
            raise _UnreadableError("the records' offsets are not in the batch's order")
        last = record.offset


def _unpack(data: bytes, codec: int) -> bytes:
    """Decompress into a bounded space, so that a few bytes cannot fill the memory."""
    try:
        match codec:
            case _Codec.NONE:
                return data
            case _Codec.GZIP:
                return _gunzip(data)
            case _Codec.SNAPPY:
                return _unsnappy(data)
            case _Codec.LZ4 | _Codec.ZSTD:
                return _unpack_into(cramjam.lz4 if codec == _Codec.LZ4 else cramjam.zstd, data)
            case _:
                raise _UnreadableError(f"unknown compression {codec}")
    except (cramjam.DecompressionError, zlib.error, struct.error, IndexError) as error:
        raise _UnreadableError(f"cannot be unpacked, or not within {UNPACKED_BYTES_MAX} bytes: {error}") from None


def _unpack_into(module: Any, data: bytes) -> bytes:
    """Unpack into a space that grows to the bound only if it must: making one of 64 MiB each time takes 100 ms."""
    size = max(_SPACE_BYTES, 8 * len(data))
    while True:
        size = min(size, UNPACKED_BYTES_MAX)
        space = bytearray(size)
        try:
            filled = module.decompress_into(data, space)
        except cramjam.DecompressionError:
            if size == UNPACKED_BYTES_MAX:
                raise
            size *= 8
        else:
            return bytes(memoryview(space)[:filled])


def _gunzip(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    unpacked = unpacker.decompress(data, UNPACKED_BYTES_MAX)
    if not unpacker.eof:
        raise _UnreadableError(f"gzip is cut off, or unpacks to more than {UNPACKED_BYTES_MAX} bytes")
    return unpacked


def _unsnappy(data: bytes) -> bytes:
    """Unpack snappy, as one block or in the framing of xerial's library that Java clients write."""
    blocks = []
    if data.startswith(_XERIAL):
        at = 16
        while at < len(data):
            (length,) = struct.unpack_from(">i", data, at)
            blocks.append(data[at + 4 : at + 4 + length])
            at += 4 + max(length, 0)
    else:
        blocks.append(data)
    if sum(cramjam.snappy.decompress_raw_len(block) for block in blocks) > UNPACKED_BYTES_MAX:
        raise _UnreadableError(f"snappy unpacks to more than {UNPACKED_BYTES_MAX} bytes")
    return b"".join(bytes(cramjam.snappy.decompress_raw(block)) for block in blocks)
