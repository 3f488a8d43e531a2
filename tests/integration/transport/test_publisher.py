from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from aiokafka.errors import KafkaConnectionError

from broker.errors import UnavailableError
from broker.model.naming import partition_of
from broker.settings import KafkaSettings
from broker.transport.fanout import Outgoing, TooLargeError
from broker.transport.publisher import Publisher
from tests.support.kafka import create_topics, plain_read
from tests.support.shared_kafka import SharedKafka

FEED = "notices.africa"


@pytest.fixture
async def settings(kafka: SharedKafka, prefix: str) -> KafkaSettings:
    settings = KafkaSettings(
        bootstrap_servers=kafka.bootstrap_servers, prefix=prefix, delivery_timeout=timedelta(seconds=2)
    )
    await create_topics(settings, {FEED: 2}, {"compression.type": "uncompressed"})
    return settings


@pytest.fixture
async def publisher(settings: KafkaSettings) -> AsyncIterator[Publisher]:
    async with Publisher(settings, client_id="publisher-test") as publisher:
        yield publisher


async def test_records_land_where_it_says_and_in_order(settings: KafkaSettings, publisher: Publisher) -> None:
    """Each future tells topic, partition and offset, and a plain consumer finds the record there."""
    futures = [await publisher.send(FEED, 1, Outgoing(b"k", b"%d" % n, (("h", b"x"),))) for n in range(50)]
    places = [await future for future in futures]

    read = {record.offset: record.value for record in await plain_read(settings, FEED)}
    assert [(place.topic, place.partition, read[place.offset]) for place in places] == [
        (FEED, 1, b"%d" % n) for n in range(50)
    ]


async def test_a_key_chooses_its_partition(settings: KafkaSettings, publisher: Publisher) -> None:
    """Without a partition, Kafka's own partitioner decides by the key."""
    numbers = [b"zw-n-2026-%06d" % serial for serial in range(20)]
    places = [await publisher.publish(FEED, key=number, value=b"v") for number in numbers]

    assert [place.partition for place in places] == [partition_of(number) for number in numbers]
    assert {(r.key, r.partition) for r in await plain_read(settings, FEED)} == {(n, partition_of(n)) for n in numbers}


async def test_too_large_is_refused_first(settings: KafkaSettings, publisher: Publisher) -> None:
    """A record over the limit is refused with its size and the limit, nothing is written, and the next one lands."""
    with pytest.raises(
        TooLargeError, match=r"notices\.africa: a record of 10000\d\d bytes is over the limit of 1000000"
    ):
        await publisher.publish(FEED, key=b"k", value=b"x" * 1_000_000)

    assert (await publisher.publish(FEED, key=b"k", value=b"v", partition=0)).offset == 0
    assert len(await plain_read(settings, FEED)) == 1


async def test_a_missing_topic_is_named(publisher: Publisher) -> None:
    """A topic that does not exist is told, with the command that makes it."""
    with pytest.raises(UnavailableError, match=r"acks\.africa.*noticewire topics apply"):
        await publisher.publish("acks.africa", key=b"k", value=b"v", partition=0)


async def test_no_broker_is_told_in_time(settings: KafkaSettings, publisher: Publisher) -> None:
    """When no broker answers, a record fails after the delivery time-out, and later ones land again."""
    await publisher.publish(FEED, key=b"k", value=b"before", partition=0)
    assert publisher._producer is not None
    client = publisher._producer.client
    real, client.send = client.send, _broken  # type: ignore[method-assign]

    with pytest.raises(UnavailableError, match="not within"):
        await publisher.publish(FEED, key=b"k", value=b"during", partition=0)
    client.send = real  # type: ignore[method-assign]
    await publisher.publish(FEED, key=b"k", value=b"after", partition=0)

    assert [record.value for record in await plain_read(settings, FEED)] == [b"before", b"during", b"after"]


async def _broken(*_: object, **__: object) -> None:
    await asyncio.sleep(0.05)
    raise KafkaConnectionError
