from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers.audit.leaf import Leaf, Place, RowKind, TimestampKind, decode_headers, encode_headers, encode_leaf


def test_a_leaf_is_laid_out_as_its_page_says() -> None:
    """The bytes of one leaf, put together by hand from the table in the module."""
    leaf = encode_leaf(
        kind="record",
        timestamp_kind="log_append",
        topic="notices.africa",
        partition=1,
        offset=42,
        next_offset=43,
        timestamp_ms=1_780_000_000_000,
        key=b"zw-n-2026-000123",
        value_sha256=sha256(b"value").digest(),
        headers=encode_headers([("a", b"1"), (b"\xff", None)]),
    )
    canonical = b"\0\0\0\1a\0\0\0\0011" + b"\0\0\0\1\xff\xff\xff\xff\xff"
    assert leaf == (
        b"\x01\x00\x01"
        + (1).to_bytes(4, "big")
        + (42).to_bytes(8, "big")
        + (43).to_bytes(8, "big")
        + (1_780_000_000_000).to_bytes(8, "big")
        + b"\x01"
        + sha256(b"zw-n-2026-000123").digest()
        + b"\x01"
        + sha256(b"value").digest()
        + sha256(canonical).digest()
        + b"notices.africa"
    )
    parsed = Leaf.parse(leaf)
    assert (parsed.kind, parsed.timestamp_kind) == (RowKind.RECORD, TimestampKind.LOG_APPEND)
    assert (parsed.place, parsed.next_offset) == (Place("notices.africa", 1, 42), 43)


def test_no_value_differs_from_an_empty_one() -> None:
    """A tombstone and a record with an empty value have different leaves."""
    same = {"kind": "record", "timestamp_kind": "create", "topic": "t", "partition": 0, "offset": 0, "next_offset": 1}
    leaves = {
        encode_leaf(**same, timestamp_ms=0, key=key, value_sha256=value, headers=b"")  # type: ignore[arg-type]
        for key in (None, b"")
        for value in (None, sha256(b"").digest())
    }
    assert len(leaves) == 4


@given(st.lists(st.tuples(st.binary(), st.none() | st.binary())))
def test_headers_come_back_from_their_canonical_form(headers: list[tuple[bytes, bytes | None]]) -> None:
    """Whatever bytes header keys and values are, the canonical form loses nothing, so it is unambiguous."""
    assert decode_headers(encode_headers(headers)) == headers


@given(st.binary(max_size=300))
def test_any_bytes_are_a_leaf_or_refused(data: bytes) -> None:
    """Damage in a bundle never raises anything but ValueError."""
    for read in (Leaf.parse, decode_headers):
        try:
            read(data)
        except ValueError:
            continue


@pytest.mark.parametrize("kind", RowKind)
def test_a_kind_keeps_its_number(kind: RowKind) -> None:
    """The numbers of kinds are part of every leaf ever written."""
    numbers = {"record": 0, "marker": 1, "aborted": 2, "undecodable": 3, "hole": 4}
    leaf = encode_leaf(
        kind=kind,
        timestamp_kind="create",
        topic="t",
        partition=0,
        offset=0,
        next_offset=1,
        timestamp_ms=-1,
        key=None,
        value_sha256=None,
        headers=b"",
    )
    assert leaf[1] == numbers[kind]
