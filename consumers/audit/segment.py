"""Segments: Avro container files (zstandard), one row for each record, marker, aborted or undecodable batch.

Beside each lies its bundle of leaves, entry after entry with two bytes of length before it (C2SP tlog-tiles).

A segment grows by whole Avro blocks until a limit closes it; a closed one never changes. Any Avro library reads it.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypedDict, cast

import fastavro
from fastavro.schema import to_parsing_canonical_form

from consumers.audit.files import append_bytes
from consumers.audit.leaf import RowKind, TimestampKind, encode_headers, encode_leaf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from broker.transport.reader import RawBatch

SCHEMA = fastavro.parse_schema(
    {
        "type": "record",
        "name": "Row",
        "namespace": "noticewire.archive",
        "doc": "One stretch of a partition. The n-th row of a segment belongs to leaf number <file name> + n.",
        "fields": [
            {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": [str(kind) for kind in RowKind]}},
            {"name": "topic", "type": "string", "doc": "without the installation's prefix"},
            {"name": "partition", "type": "int"},
            {"name": "offset", "type": "long"},
            {"name": "next_offset", "type": "long"},
            {"name": "timestamp_ms", "type": "long"},
            {
                "name": "timestamp_kind",
                "type": {"type": "enum", "name": "TimestampKind", "symbols": [str(kind) for kind in TimestampKind]},
            },
            {"name": "key", "type": ["null", "bytes"]},
            {"name": "value", "type": ["null", "bytes"], "doc": "a marker or undecodable batch: the batch, whole"},
            {"name": "value_sha256", "type": ["null", "bytes"], "doc": "null: the record has no value (a tombstone)"},
            {"name": "value_leaf", "type": "long", "doc": "the leaf whose row holds the value; -1: this one, or none"},
            {"name": "headers", "type": "bytes", "doc": "in their canonical form (see the leaf)"},
        ],
    }
)
CODEC = "zstandard"
_CANONICAL = to_parsing_canonical_form(SCHEMA)

HERE = -1
"""`value_leaf` of a row that holds its value itself, or has none."""

_BLOCK_BYTES = 256 * 1024
_SYNC_BYTES = 16
_LOG_APPEND_TIME = 0x08
_ENTRY_LENGTH = struct.Struct(">H")


class Row(TypedDict):
    """A row, as the schema says."""

    kind: str
    topic: str
    partition: int
    offset: int
    next_offset: int
    timestamp_ms: int
    timestamp_kind: str
    key: bytes | None
    value: bytes | None
    value_sha256: bytes | None
    value_leaf: int
    headers: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a segment that cannot be read."""

    at_byte: int
    problem: str


def rows_of(topic: str, partition: int, batch: RawBatch) -> list[Row]:
    """Return the rows that account for every offset of a batch, in order; at least one.

    Args:
        topic: Without the installation's prefix.
        partition: The partition that it was read from.
        batch: As read with `read_committed`, with its raw bytes kept.
    """
    clock = TimestampKind.LOG_APPEND if batch.attributes & _LOG_APPEND_TIME else TimestampKind.CREATE

    def stretch(kind: RowKind, start: int, end: int, raw: bytes | None, *, whole: bool) -> Row:
        return Row(
            kind=kind,
            topic=topic,
            partition=partition,
            offset=start,
            next_offset=end,
            timestamp_ms=batch.max_timestamp_ms,
            timestamp_kind=clock,
            key=None,
            value=raw if whole else None,
            value_sha256=None if raw is None else sha256(raw).digest(),
            value_leaf=HERE,
            headers=b"",
        )

    base, end = batch.base_offset, batch.next_offset
    if batch.is_control:
        return [stretch(RowKind.MARKER, base, end, batch.raw, whole=True)]
    if batch.is_aborted:
        return [stretch(RowKind.ABORTED, base, end, batch.raw, whole=False)]
    if batch.error is not None:
        return [stretch(RowKind.UNDECODABLE, base, end, batch.raw, whole=True)]
    rows: list[Row] = []
    at = base
    for record in batch.records:
        if record.offset > at:
            rows.append(stretch(RowKind.HOLE, at, record.offset, None, whole=False))
        value = record.value
        at = record.offset + 1
        rows.append(
            Row(
                kind=RowKind.RECORD,
                topic=topic,
                partition=partition,
                offset=record.offset,
                next_offset=at,
                timestamp_ms=record.timestamp_ms,
                timestamp_kind=clock,
                key=record.key,
                value=value,
                value_sha256=None if value is None else sha256(value).digest(),
                value_leaf=HERE,
                headers=encode_headers(record.headers),
            )
        )
    if at < end:
        rows.append(stretch(RowKind.HOLE, at, end, None, whole=False))
    return rows


def leaf_of(row: Row) -> bytes:
    """Return the leaf of a row; the value's digest is taken from the value wherever the row holds it."""
    value = row["value"]
    return encode_leaf(
        kind=row["kind"],
        timestamp_kind=row["timestamp_kind"],
        topic=row["topic"],
        partition=row["partition"],
        offset=row["offset"],
        next_offset=row["next_offset"],
        timestamp_ms=row["timestamp_ms"],
        key=row["key"],
        value_sha256=row["value_sha256"] if value is None else sha256(value).digest(),
        headers=row["headers"],
    )


def append_rows(path: Path, rows: Iterable[Row]) -> int:
    """Append rows to a segment (a new one gets its head first) and return its length; durable on return.

    A new file's name is durable only once its folder is, too.
    """
    with path.open("a+b") as file:
        fastavro.writer(file, SCHEMA, cast("Iterable[Any]", rows), codec=CODEC, sync_interval=_BLOCK_BYTES)
        file.flush()
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size


def append_entries(path: Path, entries: Iterable[bytes]) -> int:
    """Append leaves to a bundle and return its length; durable on return."""
    return append_bytes(path, b"".join(_ENTRY_LENGTH.pack(len(entry)) + entry for entry in entries))


def read_entries(data: bytes) -> tuple[list[bytes], int]:
    """Return the leaves of a bundle, and how many bytes at its end are no whole leaf."""
    entries: list[bytes] = []
    at, end = 0, len(data)
    while end - at >= _ENTRY_LENGTH.size:
        (length,) = _ENTRY_LENGTH.unpack_from(data, at)
        if at + _ENTRY_LENGTH.size + length > end:
            break
        at += _ENTRY_LENGTH.size
        entries.append(data[at : at + length])
        at += length
    return entries, end - at


def read_rows(data: bytes) -> Iterator[list[Row] | Damage]:
    """Yield a segment's rows block by block; a damaged block as such, and then what comes after it."""
    file = io.BytesIO(data)
    try:
        schema = fastavro.block_reader(file).writer_schema
        if to_parsing_canonical_form(schema) != _CANONICAL:
            yield Damage(0, "its schema is another")
            return
    except Exception as error:  # noqa: BLE001 - damaged bytes make an Avro reader raise anything
        yield Damage(0, f"its head cannot be read ({type(error).__name__})")
        return
    head = data[: file.tell()]
    sync = head[-_SYNC_BYTES:]
    at = len(head)
    while at < len(data):
        try:
            end = _block_end(data, at, sync)
            rows = cast("list[Row]", list(fastavro.reader(io.BytesIO(head + data[at:end]))))
        except Exception as error:  # noqa: BLE001 - as above
            yield Damage(at, f"a block cannot be read ({type(error).__name__})")
            found = data.find(sync, at)
            at = len(data) if found < 0 else found + _SYNC_BYTES
        else:
            yield rows
            at = end


def _block_end(data: bytes, at: int, sync: bytes) -> int:
    """Return where the block that begins here ends.

    Raises:
        ValueError: no synchronisation marker stands there.
        IndexError: the data end before it.
    """
    _, at = _varint(data, at)
    size, at = _varint(data, at)
    end = at + size + _SYNC_BYTES
    if size < 0 or data[at + size : end] != sync:
        msg = "the block does not end where it says"
        raise ValueError(msg)
    return end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read one of Avro's zigzag numbers; return it and where it ends."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:  # noqa: PLR2004 - the bit that says "more follows"
            return (number >> 1) ^ -(number & 1), at
