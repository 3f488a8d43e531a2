from __future__ import annotations

import google_crc32c
import pytest
from aiokafka.record.default_records import DefaultRecordBatch
from hypothesis import given
from hypothesis import strategies as st

from broker.transport.fanout import BatchTemplate, Compression, CopiedBatch, Outgoing, TooLargeError, plan, templates
from broker.transport.kafka import TopicPartition

RECORDS = [Outgoing(b"k%d" % n, b"v%d" % n, (("h", b"x"), ("none", None))) for n in range(3)]


def inbox(code: str) -> TopicPartition:
    return TopicPartition(f"inbox.{code}", 0)


@given(
    st.integers(min_value=0, max_value=2**62),
    st.integers(min_value=0, max_value=2**15 - 1),
    st.integers(min_value=0, max_value=2**31 - 1),
    st.sampled_from(Compression),
)
def test_a_copy_is_a_sound_batch(producer_id: int, epoch: int, sequence: int, compression: Compression) -> None:
    """A copy has the producer, epoch and sequence that it was given, a right CRC, and the template's records."""
    template = BatchTemplate.of(RECORDS, compression=compression)
    data = template.copy_for(producer_id, epoch, sequence)
    batch = DefaultRecordBatch(data)

    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence) == (producer_id, epoch, sequence)
    assert batch.is_transactional
    assert int.from_bytes(data[17:21], "big") == google_crc32c.value(data[21:])
    assert len(data) == template.size
    assert [(r.key, r.value, tuple(r.headers)) for r in batch] == [(o.key, o.value, o.headers) for o in RECORDS]


def test_copies_differ_in_nothing_else() -> None:
    """Two copies are the same but for bytes 17-20 (CRC) and 43-56 (producer)."""
    template = BatchTemplate.of(RECORDS, compression=Compression.ZSTD)
    one, other = template.copy_for(1, 0, 0), template.copy_for(2**40 + 9, 7, 12345)

    differing = {at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b}
    assert differing <= {*range(17, 21), *range(43, 57)}


def test_a_repetition_sends_the_same_bytes() -> None:
    """The producer is set once, the batch built at each attempt: the bytes stay."""
    batch = CopiedBatch(BatchTemplate.of(RECORDS, compression=Compression.ZSTD))
    batch._set_producer_state(1, 2, 3)

    assert batch._build() is batch._build()
    assert batch.record_count() == 3


def test_one_batch_an_audience() -> None:
    """Targets that hold the same record objects share one batch, also in lists of their own; equal ones do not."""
    planned = plan(
        {
            inbox("aa"): RECORDS,
            inbox("bb"): list(RECORDS),
            inbox("cc"): RECORDS[:2],
            inbox("dd"): RECORDS,
            inbox("ee"): [],
        },
        limit_bytes=10_000,
    )

    assert [(template.count, targets) for template, targets in planned] == [
        (3, [inbox("aa"), inbox("bb"), inbox("dd")]),
        (2, [inbox("cc")]),
    ]


@given(st.lists(st.integers(min_value=0, max_value=400), min_size=1, max_size=30))
def test_splitting_keeps_order_and_size(sizes: list[int]) -> None:
    """However records are split, each batch is within the size, or holds one record, and the order is kept."""
    records = [Outgoing(b"%d" % n, b"x" * size) for n, size in enumerate(sizes)]

    found = templates(records, limit_bytes=1000, batch_bytes=600, compression=Compression.NONE)

    read = [r.key for template in found for r in DefaultRecordBatch(template.copy_for(0, 0, 0))]
    assert read == [record.key for record in records]
    assert all(template.size <= 600 or template.count == 1 for template in found)


def test_a_record_over_the_limit_is_refused_with_its_size() -> None:
    """What no topic takes is refused by its target, size and limit, before anything is encoded."""
    with pytest.raises(TooLargeError, match=r"inbox\.aa/0: a record of \d+ bytes is over the limit of 1000") as caught:
        plan({inbox("aa"): [Outgoing(b"k", b"x" * 1000)]}, limit_bytes=1000)

    assert caught.value.size_bytes > 1000
    assert caught.value.log_fields() == {"code": "too_large"}


@given(
    st.binary(max_size=300), st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=20) | st.none()), max_size=5)
)
def test_the_size_is_never_underestimated(value: bytes, headers: list[tuple[str, bytes | None]]) -> None:
    """A record that passes the check fits, since the estimate counts at least what the batch has."""
    record = Outgoing(b"k", value, tuple(headers))

    assert record.size_bytes >= BatchTemplate.of([record], compression=Compression.NONE).size
