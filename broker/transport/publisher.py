"""Write records outside transactions: feeds, receipts, the directory, alerts, checkpoints."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import MessageSizeTooLargeError, RecordListTooLargeError

from broker.errors import NoticewireError, UnavailableError
from broker.model.naming import Names, partition_of
from broker.settings import KafkaSettings
from broker.transport.fanout import Outgoing, TooLargeError
from broker.transport.kafka import (
    TopicPartition,
    connection,
    consume,
    drop_producer,
    is_alive,
    translate,
    translated,
    warm,
)

logger = structlog.get_logger(__name__)

_LINGER_MS = 2
"""Long enough for records that are sent together to share a batch, too short to be felt."""

_BATCH_BYTES = 262_144
"""Up to where records share a batch."""


class RecordPlace(NamedTuple):
    """Where a record landed."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class Writes(Protocol):
    """Writes records outside of transactions: a `Publisher`, or what stands in for it in a test."""

    async def publish(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        partition: int | None = None,
    ) -> RecordPlace:
        """Write one record to a topic, by its bare name; durable once this returns."""
        ...


class Publisher:
    """An idempotent producer: each record once and in order, as long as this object lives.

    What it writes is uncompressed, as the topics that bureaus write must be. After a failure whose record may be in
    the log all the same, sending the same bytes again is right: readers know records by their message id.

    Args:
        kafka: how to reach the cluster.
        client_id: shown in the brokers' logs and quotas.
        limit_bytes: the largest record; by default a feed's.
    """

    def __init__(self, kafka: KafkaSettings, *, client_id: str, limit_bytes: int | None = None) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._limit_bytes = limit_bytes or kafka.record_bytes_max
        self._names = Names(kafka.prefix)
        self._tracked: set[str] = set()
        self._producer: AIOKafkaProducer | None = None
        self._spoiled = False
        self._waiting: set[asyncio.Future[RecordPlace]] = set()
        self._changing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Connect for a block."""
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait until what was sent has landed, and close."""
        await self.stop()

    async def start(self) -> None:
        """Connect.

        Raises:
            UnavailableError: no broker answers.
        """
        await self._ready()

    async def stop(self) -> None:
        """Wait until all that was sent has landed or failed, and close."""
        with contextlib.suppress(UnavailableError):
            await self.flush()
        async with self._changing:
            await self._let_go()

    async def send(self, topic: str, partition: int, record: Outgoing) -> asyncio.Future[RecordPlace]:
        """Hand over a record; records of one partition land in the order in which they were handed over.

        Waits when much is under way (back-pressure).

        Args:
            topic: its bare name.
            partition: given explicitly (`naming.partition_of` is Kafka's own partitioner).
            record: key or value may be none, not both.

        Returns:
            Done when the record is in the log, on all replicas that are in sync: where it landed. It fails with
            UnavailableError when that has not happened within the delivery time-out; it may happen later.

        Raises:
            TooLargeError: over the limit; nothing was sent.
            UnavailableError: no broker answers, or the topic is missing; nothing was sent.
        """
        if record.size_bytes > self._limit_bytes:
            raise TooLargeError(record.size_bytes, self._limit_bytes, topic)
        producer = await self._ready()
        doing = f"writing to {topic}/{partition}"
        await self._warm(producer, topic)
        with translated(doing):
            async with asyncio.timeout(self._kafka.delivery_timeout.total_seconds()):
                sending = await producer.send(
                    self._names.on_cluster(topic),
                    record.value,
                    key=record.key,
                    partition=partition,
                    headers=list(record.headers),
                )
        return self._landing(sending, TopicPartition(topic, partition), doing)

    async def publish(
        self,
        topic: str,
        *,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes | None]] = (),
        partition: int | None = None,
    ) -> RecordPlace:
        """Write one record, and return when it has landed; see `send`.

        Args:
            topic: its bare name.
            key: also chooses the partition, by Kafka's own partitioner, if none is given.
            value: whole.
            headers: in order.
            partition: given explicitly.

        Raises:
            TooLargeError: over the limit; nothing was sent.
            UnavailableError: it has not landed, or nobody knows; send it again.
        """
        if partition is None:
            partition = partition_of(key or b"", await self._partitions(topic))
        return await (await self.send(topic, partition, Outgoing(key, value, tuple(headers))))

    async def _partitions(self, topic: str) -> int:
        producer = await self._ready()
        await self._warm(producer, topic)
        return len(producer.client.cluster.partitions_for_topic(self._names.on_cluster(topic)) or ())

    async def _warm(self, producer: AIOKafkaProducer, topic: str) -> None:
        if self._names.on_cluster(topic) not in self._tracked:
            within = self._kafka.metadata_timeout.total_seconds()
            await warm(producer.client, self._names, self._tracked, [topic], within)

    async def flush(self) -> None:
        """Wait until all that was sent has landed or failed; each future tells which."""
        while self._waiting:
            await asyncio.wait(set(self._waiting))

    def _landing(self, sending: asyncio.Future[Any], target: TopicPartition, doing: str) -> asyncio.Future[RecordPlace]:
        """Return a future of ours over aiokafka's, which by itself would wait for a broker without limit."""
        loop = asyncio.get_running_loop()
        landing: asyncio.Future[RecordPlace] = loop.create_future()
        late = f"{doing}: not within {self._kafka.delivery_timeout}; it may still land"
        timer = loop.call_later(
            self._kafka.delivery_timeout.total_seconds(), self._fail, landing, UnavailableError(late)
        )
        self._waiting.add(landing)

        def landed(sent: asyncio.Future[Any]) -> None:
            timer.cancel()
            if sent.cancelled():
                self._fail(landing, UnavailableError(f"{doing}: given up"))
            elif (error := sent.exception()) is not None:
                # A failed batch leaves a hole in the partition's sequence numbers, and none after it would be taken.
                self._spoiled = True
                self._fail(landing, self._meaning(error, target, doing))
            elif not landing.done():
                place = sent.result()
                landing.set_result(RecordPlace(target.topic, target.partition, place.offset, place.timestamp))

        sending.add_done_callback(landed)
        landing.add_done_callback(self._waiting.discard)
        landing.add_done_callback(consume)
        return landing

    def _meaning(self, error: BaseException, target: TopicPartition, doing: str) -> NoticewireError:
        if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            return TooLargeError(-1, self._limit_bytes, f"{target} (its max.message.bytes is lower)")
        return translate(error, doing)

    def _fail(self, landing: asyncio.Future[RecordPlace], error: NoticewireError) -> None:
        if not landing.done():
            landing.set_exception(error)

    async def _ready(self) -> AIOKafkaProducer:
        """Return a producer that works, a new one after an error."""
        async with self._changing:
            if self._spoiled or (self._producer is not None and not is_alive(self._producer)):
                logger.warning("Producer replaced after an error", client=self._client_id)
                await self._let_go()
            if self._producer is None:
                producer = AIOKafkaProducer(
                    client_id=self._client_id,
                    enable_idempotence=True,
                    acks="all",
                    compression_type=None,
                    linger_ms=_LINGER_MS,
                    max_batch_size=_BATCH_BYTES,
                    max_request_size=self._limit_bytes + 1024,
                    **connection(self._kafka),
                )
                try:
                    with translated("connecting to Kafka"):
                        async with asyncio.timeout(self._kafka.request_timeout.total_seconds()):
                            await producer.start()
                except BaseException:
                    await drop_producer(producer)
                    raise
                self._producer, self._spoiled = producer, False
                self._tracked = set()
            return self._producer

    async def _let_go(self) -> None:
        """Drop the producer; what is still under way fails."""
        producer, self._producer = self._producer, None
        self._spoiled = False
        if producer is not None:
            await drop_producer(producer)
        for landing in set(self._waiting):
            self._fail(landing, UnavailableError("the producer was dropped after another record failed"))
