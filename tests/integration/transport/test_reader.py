from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from aiokafka import AIOKafkaProducer

from broker.errors import CorruptHistoryError, UnavailableError
from broker.settings import KafkaSettings
from broker.transport.fanout import BatchTemplate, Compression, CopiedBatch, Outgoing
from broker.transport.kafka import RawClient, TopicPartition
from broker.transport.reader import Marker, RawBatch, RawReader
from tests.support.kafka import create_topics, plain_read, plain_write
from tests.support.shared_kafka import SharedKafka

FEED = TopicPartition("notices.africa", 0)
OTHER = TopicPartition("notices.africa", 1)


@pytest.fixture
def settings(kafka: SharedKafka, prefix: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, prefix=prefix)


@pytest.fixture
async def client(settings: KafkaSettings) -> AsyncIterator[RawClient]:
    client = RawClient(settings, client_id="reader-test")
    await client.start()
    yield client
    await client.stop()


async def transact(settings: KafkaSettings, values: list[bytes], *, commit: bool) -> None:
    """Write in a transaction of a stranger's."""
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, transactional_id=f"{settings.prefix}stranger"
    )
    await producer.start()
    await producer.begin_transaction()
    for value in values:
        await producer.send_and_wait(settings.prefix + FEED.topic, value, key=b"k", partition=0)
    await (producer.commit_transaction() if commit else producer.abort_transaction())
    await producer.stop()


async def read_all(reader: RawReader, client: RawClient, *, committed: bool) -> list[RawBatch]:
    """Read one partition from its beginning to its end."""
    end = await client.end_offset(FEED, committed=committed)
    batches: list[RawBatch] = []
    while reader.positions[FEED] < end:
        for partition, polled in await reader.poll():
            batches += polled
            reader.advance(partition, polled[-1].next_offset)
    await reader.close()
    return batches


def assert_gapless(batches: list[RawBatch], end: int) -> None:
    assert [batch.base_offset for batch in batches] == [0, *(batch.next_offset for batch in batches[:-1])]
    assert batches[-1].next_offset == end


async def a_mixed_log(settings: KafkaSettings) -> None:
    """0, 1 plain; 2, 3 aborted, 4 its marker; 5 committed, 6 its marker; 7 plain."""
    await create_topics(settings, {FEED.topic: 2})
    await plain_write(settings, FEED.topic, b"a", b"b", headers=(("h", b"1"),))
    await transact(settings, [b"lost", b"lost too"], commit=False)
    await transact(settings, [b"c"], commit=True)
    await plain_write(settings, FEED.topic, b"d", None)


async def test_read_committed_accounts_for_every_offset(settings: KafkaSettings, client: RawClient) -> None:
    """Aborted batches and markers are told as such, and each offset up to the last stable one is in one batch."""
    await a_mixed_log(settings)

    batches = await read_all(RawReader(client, {FEED: 0}, committed=True, lane="x"), client, committed=True)

    assert_gapless(batches, 9)
    assert [batch.marker for batch in batches if batch.is_control] == [Marker.ABORT, Marker.COMMIT]
    assert [(batch.base_offset, batch.records) for batch in batches if batch.is_aborted] == [(2, []), (3, [])]
    read = [(record.offset, record.value) for batch in batches if not batch.is_control for record in batch.records]
    assert read == [(record.offset, record.value) for record in await plain_read(settings, FEED.topic)]
    assert read == [(0, b"a"), (1, b"b"), (5, b"c"), (7, b"d"), (8, None)]


async def test_read_uncommitted_is_not_held_up(settings: KafkaSettings, client: RawClient) -> None:
    """A stranger's open transaction stops no uncommitted reader, and its records are marked as transactional."""
    await create_topics(settings, {FEED.topic: 2})
    producer = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers, transactional_id=f"{settings.prefix}stranger"
    )
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(settings.prefix + FEED.topic, b"open", key=b"k", partition=0)
    await plain_write(settings, FEED.topic, b"after")

    batches = await read_all(RawReader(client, {FEED: 0}, committed=False, lane="x"), client, committed=False)

    assert [(batch.is_transactional, batch.records[0].value) for batch in batches] == [
        (True, b"open"),
        (False, b"after"),
    ]
    assert await client.end_offset(FEED, committed=True) == 0
    assert await client.end_offset(FEED) == 2
    await producer.abort_transaction()
    await producer.stop()


async def test_aborted_records_can_be_kept(settings: KafkaSettings, client: RawClient) -> None:
    """The archive reads what an aborted transaction wrote, with the batch's exact bytes."""
    await a_mixed_log(settings)

    reader = RawReader(client, {FEED: 0}, committed=True, lane="x", keep_aborted=True, keep_raw=True)
    batches = await read_all(reader, client, committed=True)

    assert [record.value for batch in batches if batch.is_aborted for record in batch.records] == [b"lost", b"lost too"]
    assert all(int.from_bytes(batch.raw[:8], "big") == batch.base_offset for batch in batches)


async def test_the_same_comes_again_until_advanced(settings: KafkaSettings, client: RawClient) -> None:
    """A poll moves no position; advancing into a batch leaves out what lies before."""
    await create_topics(settings, {FEED.topic: 2})
    await plain_write(settings, FEED.topic, b"a", b"b", b"c")
    reader = RawReader(client, {FEED: 0}, committed=False, lane="x")

    first, again = await reader.poll(), await reader.poll()
    reader.advance(FEED, 2)
    rest = await reader.poll()

    assert first == again
    assert [record.value for _, batches in rest for batch in batches for record in batch.records] == [b"c"]
    await reader.close()


async def test_partitions_can_be_assigned_and_dropped(settings: KafkaSettings, client: RawClient) -> None:
    """What is assigned comes with the next polls, what is dropped comes no more."""
    await create_topics(settings, {FEED.topic: 2})
    await plain_write(settings, FEED.topic, b"zero", partition=0)
    await plain_write(settings, FEED.topic, b"one", partition=1)
    reader = RawReader(client, {FEED: 0}, committed=False, lane="x")
    assert [partition for partition, _ in await reader.poll()] == [FEED]

    reader.assign(OTHER, 0)
    reader.drop(FEED)
    polled = await reader.poll() or await reader.poll()

    assert [partition for partition, _ in polled] == [OTHER]
    await reader.close()


async def test_a_position_that_is_not_there_is_an_incident(
    kafka: SharedKafka, settings: KafkaSettings, client: RawClient
) -> None:
    """A log that starts after the position, or ends before it, names the place and is never jumped over."""
    await create_topics(settings, {FEED.topic: 2})
    await plain_write(settings, FEED.topic, b"a", b"b", b"c")
    beyond = RawReader(client, {FEED: 7}, committed=False, lane="x")
    with pytest.raises(CorruptHistoryError, match=r"notices\.africa/0/7"):
        await beyond.poll()
    await beyond.close()

    from confluent_kafka import TopicPartition as AdminPartition  # noqa: PLC0415 - the one use

    place = AdminPartition(settings.prefix + FEED.topic, 0, 2)
    for future in kafka.admin.delete_records([place]).values():
        future.result()

    before = RawReader(client, {FEED: 1}, committed=False, lane="y")
    with pytest.raises(CorruptHistoryError, match=r"notices\.africa/0/1"):
        await before.poll()
    await before.close()
    assert await client.log_start(FEED) == 2


async def test_a_header_name_that_is_not_utf8_stops_nothing(settings: KafkaSettings, client: RawClient) -> None:
    """A record at which a plain consumer raises for ever is read with the name's bytes, and so is what follows it."""
    await create_topics(settings, {FEED.topic: 2})
    good = BatchTemplate.of(
        [Outgoing(b"k", b"poison", (("NAME", b"1"),))], compression=Compression.NONE, transactional=False
    )
    poison = BatchTemplate(good.copy_for(0, 0, 0).replace(b"NAME", b"\xff\xfe\xfa\xfb"), 1)
    producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers, enable_idempotence=True)
    await producer.start()
    await (await producer.send_batch(CopiedBatch(poison), settings.prefix + FEED.topic, partition=0))
    await producer.stop()
    await plain_write(settings, FEED.topic, b"good")

    batches = await read_all(RawReader(client, {FEED: 0}, committed=False, lane="x"), client, committed=False)

    assert_gapless(batches, 2)
    read = [(record.value, record.headers) for batch in batches for record in batch.records]
    assert read == [(b"poison", ((b"\xff\xfe\xfa\xfb", b"1"),)), (b"good", ())]


async def test_nothing_new_is_an_empty_poll(settings: KafkaSettings, client: RawClient) -> None:
    """At the end a poll waits its time and returns nothing, and the watermarks are known."""
    await create_topics(settings, {FEED.topic: 2})
    await plain_write(settings, FEED.topic, b"a")
    reader = RawReader(client, {FEED: 1, OTHER: 0}, committed=True, lane="x", max_wait=timedelta(milliseconds=50))

    assert await reader.poll() == []

    assert reader.high_watermarks == {FEED: 1, OTHER: 0}
    assert reader.last_stable == {FEED: 1, OTHER: 0}
    await reader.close()


async def test_a_missing_topic_is_named(settings: KafkaSettings, client: RawClient) -> None:
    """What is missing is told by its bare name, with the command that makes it."""
    await create_topics(settings, {FEED.topic: 2})
    with pytest.raises(UnavailableError, match=r"missing: inbox\.zw; run noticewire topics apply"):
        await client.warm([FEED.topic, "inbox.zw"])

    assert await client.partitions(FEED.topic) == 2
    assert await client.topics() == {FEED.topic}
    assert await client.end_offsets([FEED, OTHER]) == {FEED: 0, OTHER: 0}
