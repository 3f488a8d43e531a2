"""Topics for a test, and a plain consumer as an independent oracle of what lies in them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from broker.settings import KafkaSettings
from broker.transport.kafka import RawClient
from broker.transport.kafka import TopicPartition as BareTopicPartition

CONFIG = {"cleanup.policy": "delete", "retention.ms": "-1", "message.timestamp.type": "LogAppendTime"}
"""What every topic of an installation has."""

_EXISTS_ALREADY = 36


async def create_topics(
    kafka: KafkaSettings, topics: Mapping[str, int], configs: Mapping[str, str] | None = None
) -> None:
    """Make topics by their bare names, with so many partitions each; they can be written and read at once."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        answer = await admin.create_topics(
            [
                NewTopic(kafka.prefix + name, partitions, 1, topic_configs={**CONFIG, **(configs or {})})
                for name, partitions in topics.items()
            ]
        )
    finally:
        await admin.close()
    errors: list[tuple[str, int, str]] = answer.topic_errors  # type: ignore[attr-defined] # made from the schema
    failed = [error for error in errors if error[1] not in (0, _EXISTS_ALREADY)]
    assert not failed, failed
    client = RawClient(kafka, client_id="create-topics")
    await client.start()
    try:  # asks until the leaders have heard that they lead
        await client.end_offsets(
            BareTopicPartition(name, number) for name, partitions in topics.items() for number in range(partitions)
        )
    finally:
        await client.stop()


async def plain_read(
    kafka: KafkaSettings, *topics: str, committed: bool = True
) -> list[ConsumerRecord[bytes | None, bytes | None]]:
    """Read topics (bare names) to their end with a plain consumer; records in order within each partition."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers,
        isolation_level="read_committed" if committed else "read_uncommitted",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
    )
    await consumer.start()
    records: list[ConsumerRecord[bytes | None, bytes | None]] = []
    try:
        partitions: list[TopicPartition] = []
        names = [kafka.prefix + topic for topic in topics]
        await consumer._client.set_topics(names)
        for name in names:
            partitions += [TopicPartition(name, number) for number in sorted(consumer.partitions_for_topic(name) or ())]
        assert {partition.topic for partition in partitions} == set(names), "topics are missing"
        ends = await consumer.end_offsets(partitions)
        consumer.assign(partitions)
        await consumer.seek_to_beginning()
        async with asyncio.timeout(90):
            while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
                for batch in (await consumer.getmany(timeout_ms=100)).values():
                    records += batch
    finally:
        await consumer.stop()
    return records


async def plain_write(
    kafka: KafkaSettings,
    topic: str,
    *values: bytes | None,
    partition: int = 0,
    key: bytes = b"k",
    headers: tuple[tuple[str, bytes], ...] = (),
) -> list[int]:
    """Write records with a plain producer, as a stranger would; return their offsets."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, acks="all")
    await producer.start()
    try:
        sent = [
            await producer.send(kafka.prefix + topic, value, key=key, partition=partition, headers=list(headers))
            for value in values
        ]
        return [(await future).offset for future in sent]
    finally:
        await producer.stop()
