from __future__ import annotations

from datetime import UTC, datetime

import pytest

from broker.model.naming import Origin
from broker.transport.kafka import TopicPartition
from broker.transport.reader import RawBatch, RawRecord
from consumers.router.arrival import Arrival, ArrivedRecord, BrokenBatch, NoRecord, arrivals

FEED = TopicPartition("notices.africa", 1)


def a_record(offset: int) -> RawRecord:
    return RawRecord(offset=offset, timestamp_ms=1_700_000_000_123, key=b"k", value=b"v%d" % offset, headers=())


def told(*batches: RawBatch, position: int = 0) -> list[tuple[type[Arrival], int, int]]:
    return [(type(one), one.origin.offset, one.next_offset) for one in arrivals(FEED, batches, position)]


def test_every_offset_belongs_to_one_arrival() -> None:
    """Records, markers, holes and broken batches follow each other without a gap."""
    assert told(
        RawBatch(0, 2, records=[a_record(0), a_record(1)]),
        RawBatch(2, 3, is_control=True, records=[a_record(2)]),
        RawBatch(3, 8, records=[a_record(4), a_record(6)]),
        RawBatch(8, 11, error="its CRC is wrong"),
    ) == [
        (ArrivedRecord, 0, 1),
        (ArrivedRecord, 1, 2),
        (NoRecord, 2, 3),
        (NoRecord, 3, 4),
        (ArrivedRecord, 4, 5),
        (NoRecord, 5, 6),
        (ArrivedRecord, 6, 7),
        (NoRecord, 7, 8),
        (BrokenBatch, 8, 11),
    ]


@pytest.mark.parametrize("position", range(6))
def test_goes_on_from_any_position(position: int) -> None:
    """A fetch may return a batch that begins before the position: what was entered does not come again."""
    batches = (
        RawBatch(0, 4, records=[a_record(0), a_record(1), a_record(3)]),
        RawBatch(4, 6, error="its CRC is wrong"),
    )
    every_offset = list(range(position, 6))

    assert [at for _, start, end in told(*batches, position=position) for at in range(start, end)] == every_offset


def test_takes_a_record_as_it_lies_there() -> None:
    """Origin, append time, key, value and headers are the record's own."""
    [one] = arrivals(FEED, [RawBatch(5, 6, is_transactional=True, records=[a_record(5)])], 5)

    assert isinstance(one, ArrivedRecord)
    assert one.origin == Origin("notices.africa", 1, 5)
    assert one.appended_at == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
    assert (one.key, one.value, one.headers, one.is_transactional) == (b"k", b"v5", (), True)
