"""A leaf: the digests of one archived row, in a form that a stranger can rebuild from this page.

| bytes | what |
|---|---|
| 1 | version of this form: 1 |
| 1 | kind: 0 record, 1 marker, 2 aborted, 3 undecodable, 4 hole |
| 1 | kind of timestamp: 0 the sender's, 1 the broker's (log append time) |
| 4, 8, 8 | partition, offset, next offset |
| 8 | timestamp, milliseconds since 1970, signed |
| 1 + 32 | 1 and the key's SHA-256; or 0 and zeros, where there is no key |
| 1 + 32 | the same of the value |
| 32 | SHA-256 of the headers' canonical form |
| the rest | the topic's name without the installation's prefix, UTF-8 |

Numbers are big-endian. The headers' canonical form: for each header in its order, the length of its key (4 bytes), the
key, the length of its value (4 bytes; FFFFFFFF where it has none), the value. No leaf holds personal data, so a record
can be erased from its segment one day and the tree stays valid.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple, Self

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterable

VERSION = 1
_HEAD = struct.Struct(">BBBIQQq?32s?32s32s")
_LENGTH = struct.Struct(">I")
_NONE = 0xFFFFFFFF
_ZEROS = bytes(32)


class RowKind(StrEnum):
    """What a row accounts for; its place in this list is its number in a leaf, so only ever add at the end."""

    RECORD = "record"
    MARKER = "marker"
    """A transaction's end, whole, as the batch that it is."""
    ABORTED = "aborted"
    """A batch of an aborted transaction: nobody may read it, so only its offsets and its digest are kept."""
    UNDECODABLE = "undecodable"
    """A batch that cannot be parsed, whole."""
    HOLE = "hole"
    """Offsets of a batch that hold no record."""


class TimestampKind(StrEnum):
    """Whose clock a timestamp is of."""

    CREATE = "create"
    LOG_APPEND = "log_append"


_KINDS = tuple(RowKind)
_KIND_NUMBERS = {str(kind): number for number, kind in enumerate(RowKind)}
_TIMESTAMP_KINDS = tuple(TimestampKind)
_TIMESTAMP_NUMBERS = {str(kind): number for number, kind in enumerate(TimestampKind)}


class Place(NamedTuple):
    """Where a row was on the log; what findings name."""

    topic: str
    partition: int
    offset: int

    @override
    def __str__(self) -> str:
        """Write it like an origin: `notices.africa/1/42`."""
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf taken apart."""

    kind: RowKind
    timestamp_kind: TimestampKind
    place: Place
    next_offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: bytes
    """SHA-256 digests, 32 bytes each."""

    @classmethod
    def parse(cls, entry: bytes) -> Self:
        """Take a leaf apart.

        Raises:
            ValueError: it is none of version 1.
        """
        try:
            version, kind, clock, partition, offset, next_offset, at, has_key, key, has_value, value, headers = (
                _HEAD.unpack_from(entry)
            )
            if version != VERSION:
                msg = f"is of version {version}"
                raise ValueError(msg)
            topic = entry[_HEAD.size :].decode()
            return cls(
                _KINDS[kind],
                _TIMESTAMP_KINDS[clock],
                Place(topic, partition, offset),
                next_offset,
                at,
                key if has_key else None,
                value if has_value else None,
                headers,
            )
        except (struct.error, IndexError, UnicodeDecodeError) as error:
            msg = f"is no leaf: {error}"
            raise ValueError(msg) from error

    def differences(self, other: Leaf) -> list[str]:
        """Name the parts in which another leaf differs from this one."""
        parts = {
            "kind": (self.kind, other.kind),
            "place": (self.place, other.place),
            "next offset": (self.next_offset, other.next_offset),
            "timestamp": (
                (self.timestamp_ms, self.timestamp_kind),
                (other.timestamp_ms, other.timestamp_kind),
            ),
            "key": (self.key, other.key),
            "value": (self.value, other.value),
            "headers": (self.headers, other.headers),
        }
        return [part for part, (mine, theirs) in parts.items() if mine != theirs]


def encode_leaf(
    *,
    kind: str,
    timestamp_kind: str,
    topic: str,
    partition: int,
    offset: int,
    next_offset: int,
    timestamp_ms: int,
    key: bytes | None,
    value_sha256: bytes | None,
    headers: bytes,
) -> bytes:
    """Write a leaf; `key` and `headers` (in canonical form) themselves, of the value its digest."""
    return (
        _HEAD.pack(
            VERSION,
            _KIND_NUMBERS[kind],
            _TIMESTAMP_NUMBERS[timestamp_kind],
            partition,
            offset,
            next_offset,
            timestamp_ms,
            key is not None,
            _ZEROS if key is None else sha256(key).digest(),
            value_sha256 is not None,
            value_sha256 or _ZEROS,
            sha256(headers).digest(),
        )
        + topic.encode()
    )


def encode_headers(headers: Iterable[tuple[str | bytes, bytes | None]]) -> bytes:
    """Write headers in their canonical form; a key that is not UTF-8 stays the bytes that it is."""
    parts: list[bytes] = []
    for key, value in headers:
        name = key.encode() if isinstance(key, str) else key
        parts += (_LENGTH.pack(len(name)), name)
        parts += (_LENGTH.pack(_NONE),) if value is None else (_LENGTH.pack(len(value)), value)
    return b"".join(parts)


def decode_headers(data: bytes) -> list[tuple[bytes, bytes | None]]:
    """Read headers from their canonical form.

    Raises:
        ValueError: the bytes are not in it.
    """
    headers: list[tuple[bytes, bytes | None]] = []
    at = 0
    try:
        while at < len(data):
            key, at = _take(data, at)
            value, at = _take(data, at)
            if key is None:
                msg = "a header has no key"
                raise ValueError(msg)
            headers.append((key, value))
    except struct.error as error:
        msg = "the headers end too early"
        raise ValueError(msg) from error
    return headers


def _take(data: bytes, at: int) -> tuple[bytes | None, int]:
    (length,) = _LENGTH.unpack_from(data, at)
    at += _LENGTH.size
    if length == _NONE:
        return None, at
    if at + length > len(data):
        msg = "the headers end too early"
        raise ValueError(msg)
    return data[at : at + length], at + length
