from __future__ import annotations

import gzip
from collections.abc import Callable

import cramjam
import google_crc32c
import pytest
from aiokafka import codec
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.errors import CorruptHistoryError
from broker.transport.batches import HEADER, UNPACKED_BYTES_MAX, RawBatch, RawRecord, lone_batch, parse
from broker.transport.fanout import BatchTemplate, Compression, Outgoing

PLACE = "notices.africa/0"

TWO = [
    Outgoing(b"key", b"first", (("name", b"value"), ("none", None))),
    Outgoing(None, None, ()),
]


def stored(records: list[Outgoing], *, base: int = 0, compression: Compression = Compression.NONE) -> bytearray:
    """Return a batch as the log holds it, at a base offset."""
    data = bytearray(BatchTemplate.of(records, compression=compression, transactional=False).copy_for(7, 1, 40))
    data[:8] = base.to_bytes(8, "big")
    return data


def resealed(data: bytearray) -> bytes:
    """Set length and CRC anew, as whoever writes such a batch on purpose would."""
    data[8:12] = (len(data) - 12).to_bytes(4, "big")
    data[17:21] = google_crc32c.value(bytes(data[21:])).to_bytes(4, "big")
    return bytes(data)


def read(data: bytes, position: int = 0) -> list[RawBatch]:
    return list(parse(data, position, place=PLACE))


@pytest.mark.parametrize("compression", list(Compression))
def test_records_are_read_whole(compression: Compression) -> None:
    """Key, value and headers come as they were written, with the batch's header, whatever the compression."""
    (batch,) = read(bytes(stored(TWO, base=5, compression=compression)), 5)

    assert (batch.base_offset, batch.next_offset, batch.count, batch.error) == (5, 7, 2, None)
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (7, 1, 40)
    assert [Outgoing(record.key, record.value, record.headers) for record in batch.records] == TWO  # type: ignore[arg-type]
    assert [record.offset for record in batch.records] == [5, 6]


@pytest.mark.parametrize(
    ("number", "compress"),
    [(1, gzip.compress), (2, codec.snappy_encode), (2, cramjam.snappy.compress_raw)],
)
def test_strangers_compressions_are_read(number: int, compress: Callable[[bytes], bytes]) -> None:
    """Gzip, and snappy with and without xerial's framing, are read, too."""
    data = stored(TWO)
    data[22] |= number
    data[HEADER.size :] = bytes(compress(bytes(data[HEADER.size :])))

    (batch,) = read(resealed(data))

    assert [record.value for record in batch.records] == [b"first", None]


def test_a_header_name_that_is_not_utf8_stays_bytes() -> None:
    """Such a name, at which aiokafka's own iterator raises for ever, stays bytes, and all else is read."""
    data = stored(TWO)
    at = bytes(data).index(b"name")
    data[at : at + 4] = b"\xff\xfe\xfa\xfb"

    (batch,) = read(resealed(data))

    assert batch.error is None
    assert batch.records[0].headers == ((b"\xff\xfe\xfa\xfb", b"value"), ("none", None))
    assert batch.records[1].key is None


def test_a_record_becomes_a_batch_of_its_own() -> None:
    """A record is written as the log holds it and read whole again, also with what no client would write."""
    record = RawRecord(70, 1_777_636_800_000, None, b"v" * 300, ((b"\xff", None), ("", b""), ("name", b"value")))

    (batch,) = read(lone_batch(record), 70)

    assert (batch.base_offset, batch.next_offset, batch.error, batch.timestamp_type) == (70, 71, None, 1)
    assert batch.records == [record]


def test_a_broken_crc_is_told_and_accounted_for() -> None:
    """A batch whose bytes were changed has an error and its raw bytes, keeps its offsets, and the next one is read."""
    broken = stored(TWO)
    broken[-1] ^= 1

    first, second = read(bytes(broken) + bytes(stored(TWO, base=2)))

    assert (first.error, first.records, first.raw) == ("the CRC-32C does not fit the bytes", [], bytes(broken))
    assert (first.base_offset, first.next_offset) == (0, 2)
    assert [record.offset for record in second.records] == [2, 3]


def test_what_cannot_be_unpacked_is_told() -> None:
    """Rubbish that says that it is zstd is an error of its batch."""
    data = stored(TWO)
    data[22] |= Compression.ZSTD

    (batch,) = read(resealed(data))

    assert (batch.error or "").startswith("cannot be unpacked")
    assert batch.raw
    assert batch.next_offset == 2


@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_bomb_is_bounded(number: int) -> None:
    """A few kilobytes that would unpack to more than the bound are an error, without filling the memory."""
    huge = bytes(UNPACKED_BYTES_MAX + 1)
    bomb: dict[int, bytes] = {
        1: gzip.compress(huge, 1),
        2: bytes(cramjam.snappy.compress_raw(huge)),
        4: codec.zstd_encode(huge),
    }
    data = stored(TWO)
    data[22] |= number
    data[HEADER.size :] = bomb[number]

    (batch,) = read(resealed(data))

    assert str(UNPACKED_BYTES_MAX) in (batch.error or "")


def test_an_old_format_is_an_error_batch() -> None:
    """A magic byte other than 2 is told, and its offset is accounted for."""
    data = stored(TWO)
    data[16] = 1

    (batch,) = read(bytes(data))

    assert (batch.error or "").startswith("magic byte 1")
    assert (batch.base_offset, batch.next_offset) == (0, 1)


def test_offsets_out_of_order_are_an_error() -> None:
    """Records that claim offsets outside of their batch, which no broker checks, are not taken."""
    data = stored([Outgoing(b"k", b"v")])
    at = HEADER.size + 3  # length, attributes, timestamp delta, then the offset's
    assert data[at] == 0
    data[at] = 10  # zigzag: 5

    (batch,) = read(resealed(data))

    assert batch.error == "the records' offsets are not in the batch's order"


def test_a_gap_is_an_incident() -> None:
    """Offsets that are missing, before the first batch or between two, name the place and are never jumped over."""
    with pytest.raises(CorruptHistoryError, match=r"notices\.africa/0/4: the log goes on at 5"):
        read(bytes(stored(TWO, base=5)), 4)
    with pytest.raises(CorruptHistoryError, match=r"notices\.africa/0/2: the log goes on at 3"):
        read(bytes(stored(TWO)) + bytes(stored(TWO, base=3)))


def test_a_batch_that_lies_again_is_an_incident() -> None:
    """The same offsets twice in one log are no history."""
    with pytest.raises(CorruptHistoryError, match=r"notices\.africa/0/2"):
        read(bytes(stored(TWO)) + bytes(stored(TWO)))


def test_what_lies_before_the_position_is_left_out() -> None:
    """Reading on within a batch, or from an answer that begins before, gives nothing twice."""
    (batch,) = read(bytes(stored(TWO)) + bytes(stored(TWO, base=2)), 3)

    assert (batch.base_offset, batch.next_offset) == (2, 4)
    assert [record.offset for record in batch.records] == [3]


def test_a_batch_that_is_cut_off_waits() -> None:
    """The end of an answer may be half a batch: the next fetch has it whole."""
    whole = bytes(stored(TWO))

    for size in range(len(whole)):
        assert read(whole[:size]) == []


def test_aborted_records_are_left_out_until_their_marker() -> None:
    """From an aborted transaction's first offset to its marker its producer's batches are aborted, later ones not."""

    def batch(base: int, *, control: bool = False) -> bytes:
        key = b"\0\0\0\0" if control else b"k"
        data = stored([Outgoing(key, b"v")], base=base)
        data[22] |= 0x10 | (0x20 if control else 0)
        return resealed(data)

    log = batch(0) + batch(1) + batch(2, control=True) + batch(3)
    read_back = list(parse(log, 0, place=PLACE, aborted=((7, 1),)))

    assert [entry.is_aborted for entry in read_back] == [False, True, False, False]
    assert [len(entry.records) for entry in read_back] == [1, 0, 1, 1]


@settings(deadline=None)  # the first bytes to reach a codec load it
@given(st.binary(max_size=200), st.integers(min_value=0, max_value=7))
def test_no_bytes_stop_the_reader(payload: bytes, compression: int) -> None:
    """Whatever a well-formed batch holds, it is read or told; nothing else is raised, and its offsets are kept."""
    data = stored(TWO)
    data[22] |= compression
    data[HEADER.size :] = payload

    (batch,) = read(resealed(data))

    assert batch.next_offset == 2
    assert batch.error is None or batch.raw
