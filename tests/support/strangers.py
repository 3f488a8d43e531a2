"""What strangers put on feeds: garbage of every kind, and transactions."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer

from broker.settings import KafkaSettings
from broker.transport.fanout import BatchTemplate, Compression, CopiedBatch, Outgoing

GARBAGE: tuple[tuple[str, bytes | None], ...] = (
    ("nothing", None),
    ("empty", b""),
    ("wrong magic byte", b"\x01\x00\x00\x03\xe9 and so on"),
    ("unknown schema id", b"\x00\x00\x00\xff\xff and so on"),
    ("truncated Avro", b"\x00\x00\x00\x03\xe9\x48"),
    ("random bytes", bytes(range(40, 200, 3))),
)
"""Values that no router can take."""


NOT_UTF8 = b"\xff\xfe\xfa\xfb"
"""A header's name that no text has."""

_STAND_IN = "NAME"
"""As long as that: aiokafka writes only names that are text, so this one is replaced in the batch."""


class Stranger:
    """Somebody who may write to a feed, and does as they like."""

    def __init__(self, kafka: KafkaSettings, producer: AIOKafkaProducer) -> None:
        self._kafka = kafka
        self._producer = producer

    @classmethod
    async def arrive(cls, kafka: KafkaSettings) -> Stranger:
        """Connect."""
        producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers, enable_idempotence=True)
        await producer.start()
        return cls(kafka, producer)

    async def leave(self) -> None:
        """Disconnect."""
        await self._producer.stop()

    async def litter(self, feed: str, partition: int, value: bytes | None, *, key: bytes = b"k") -> None:
        """Write a value without any header."""
        await self._producer.send_and_wait(self._kafka.prefix + feed, value, key=key, partition=partition)

    async def send_batch(self, feed: str, partition: int, batch: CopiedBatch) -> None:
        """Write a batch as it is; whatever the broker says of it is raised."""
        await (await self._producer.send_batch(batch, self._kafka.prefix + feed, partition=partition))

    async def litter_header(
        self,
        feed: str,
        partition: int,
        *,
        key: bytes = b"k",
        value: bytes = b"poison",
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> int:
        """Write a record whose last header's name is not UTF-8, at which plain consumers stumble for ever.

        Returns:
            Its offset.
        """
        outgoing = Outgoing(key, value, (*headers, (_STAND_IN, b"1")))
        good = BatchTemplate.of([outgoing], compression=Compression.NONE, transactional=False)
        poison = BatchTemplate(good.copy_for(0, 0, 0).replace(_STAND_IN.encode(), NOT_UTF8), 1)
        stored = await self._producer.send_batch(CopiedBatch(poison), self._kafka.prefix + feed, partition=partition)
        return int((await stored).offset)


async def open_transaction(kafka: KafkaSettings, feed: str, partition: int, *, name: str) -> AIOKafkaProducer:
    """Begin a transaction on a feed and leave it open; whoever calls this ends it."""
    producer = AIOKafkaProducer(
        bootstrap_servers=kafka.bootstrap_servers, transactional_id=kafka.prefix + name, transaction_timeout_ms=600_000
    )
    await producer.start()
    await producer.begin_transaction()
    await producer.send_and_wait(kafka.prefix + feed, b"within a transaction", key=b"k", partition=partition)
    return producer
