"""How fast do copied batches reach every inbox, against the same records through the usual producers?

Three ways to write a poll's notices to the 226 inboxes in one transaction, with the same records on the same broker:
the session that the router uses (each batch encoded and compressed once, then copied), aiokafka's own producer, and
librdkafka (confluent-kafka). The peers linger until the commit, so that their batches, too, hold a whole poll: with
their defaults they are several times slower. Everything else of theirs is as it comes.
They take turns, round after round, after some to warm up, since the first transactions on new topics are many times
slower: the broker's JVM still compiles what they run. The broker shares the machine, so its CPU is shown where it is
our own: that is the limit of every way.

Example: python bench/fanout.py --polls 50,200 --codecs lz4,zstd --rounds 3
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median
from typing import Any

import psutil
import structlog
import uvloop
from aiokafka import AIOKafkaProducer
from confluent_kafka import KafkaException, Producer

from bench.material import World
from bench.measure import arguments, kafka, progress, table
from broker.model.naming import Names, inbox
from broker.settings import KafkaSettings
from broker.topics.apply import TopicAdmin
from broker.topics.plan import plan
from broker.transport.fanout import Compression, Outgoing, templates
from broker.transport.headers import passed_on
from broker.transport.kafka import RawClient, TopicPartition
from broker.transport.session import ShardSession

LEDGER = TopicPartition("ledger.africa", 0)

_BATCH_BYTES = 900_000
_LINGER_MS = 10_000  # until the commit, which waits for no linger
_TIMEOUT = timedelta(seconds=60)  # a plain producer on a busy machine takes longer than a router may

Write = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Way:
    """One way to write one poll, and what it took, a round each."""

    name: str
    codec: str
    poll: int
    write: Write
    seconds: list[float] = field(default_factory=list)
    client_us: list[float] = field(default_factory=list)
    broker_us: list[float] = field(default_factory=list)


class Bench:
    """The ways, on one cluster; each is closed when the stack is."""

    def __init__(self, settings: KafkaSettings, stack: AsyncExitStack, records: Sequence[Outgoing]) -> None:
        self._settings = settings
        self._names = Names(settings.prefix)
        self._stack = stack
        self._records = records
        self.inboxes: list[str] = []

    async def make_topics(self, bureaus: Sequence[str]) -> None:
        """Make the inboxes and the ledger as an installation has them; they are deleted when the stack closes."""
        self.inboxes = [inbox(code) for code in bureaus]
        admin = TopicAdmin(self._settings)
        self._stack.push_async_callback(admin.apply, (), delete_unplanned=True)
        wanted = {*self.inboxes, LEDGER.topic}
        await admin.apply([spec for spec in plan(bureaus, kafka=self._settings) if spec.name in wanted])

    async def copied(self, codec: str) -> Callable[[int], Write]:
        """Through the router's own session."""
        client = RawClient(self._settings, client_id=f"bench-{codec}")
        await client.start()
        self._stack.push_async_callback(client.stop)
        session = ShardSession(
            kafka=self._settings,
            client=client,
            transactional_id=f"copied-{codec}",
            ledger=LEDGER,
            compression=Compression[codec.upper()],
        )
        self._stack.push_async_callback(session.drop)
        await session.take(self.inboxes)
        targets = [TopicPartition(topic, 0) for topic in self.inboxes]

        def of(poll: int) -> Write:
            async def write() -> None:
                async with session.transaction() as transaction:
                    await transaction.write(dict.fromkeys(targets, self._records[:poll]))

            return write

        return of

    async def aiokafka(self, codec: str) -> Callable[[int], Write]:
        """Through aiokafka's producer: `send`, a record at a time; its futures are looked at after the commit."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._settings.bootstrap_servers,
            transactional_id=self._names.on_cluster(f"aiokafka-{codec}"),
            transaction_timeout_ms=int(_TIMEOUT.total_seconds() * 1000),
            compression_type=codec,
            max_batch_size=_BATCH_BYTES,
            max_request_size=_BATCH_BYTES,
            linger_ms=_LINGER_MS,
        )
        await producer.start()
        self._stack.push_async_callback(producer.stop)
        topics = [self._names.on_cluster(topic) for topic in self.inboxes]

        def of(poll: int) -> Write:
            records = [(record, list(record.headers)) for record in self._records[:poll]]

            async def write() -> None:
                async with producer.transaction():
                    sent: list[Any] = [
                        await producer.send(topic, record.value, record.key, partition=0, headers=headers)
                        for record, headers in records
                        for topic in topics
                    ]
                await asyncio.gather(*sent)

            return write

        return of

    async def librdkafka(self, codec: str) -> Callable[[int], Write]:
        """Through confluent-kafka's producer: `produce`, a record at a time, in a thread of its own."""
        producer = Producer(
            {
                "bootstrap.servers": self._settings.bootstrap_servers,
                "transactional.id": self._names.on_cluster(f"librdkafka-{codec}"),
                "transaction.timeout.ms": int(_TIMEOUT.total_seconds() * 1000),
                "compression.type": codec,
                "batch.size": _BATCH_BYTES,
                "linger.ms": _LINGER_MS,
                "queue.buffering.max.messages": 1_000_000,
                "queue.buffering.max.kbytes": 1_000_000,
            }
        )
        await asyncio.to_thread(producer.init_transactions, 30)
        topics = [self._names.on_cluster(topic) for topic in self.inboxes]
        failed: list[Any] = []

        def delivered(error: Any, _message: Any) -> None:
            if error is not None:
                failed.append(error)

        def of(poll: int) -> Write:
            records = [(record, _headers(record)) for record in self._records[:poll]]

            def write() -> None:
                producer.begin_transaction()
                for record, headers in records:
                    for topic in topics:
                        producer.produce(
                            topic, record.value, record.key, partition=0, headers=headers, on_delivery=delivered
                        )
                    producer.poll(0)
                producer.commit_transaction(_TIMEOUT.total_seconds())
                if failed:
                    raise KafkaException(failed[0])

            return lambda: asyncio.to_thread(write)

        return of

    async def ways(self, codecs: Sequence[str], polls: Sequence[int]) -> list[Way]:
        """Return every way, for each codec and poll."""
        found = []
        for codec in codecs:
            for name, made in (
                ("copied batches", await self.copied(codec)),
                ("aiokafka", await self.aiokafka(codec)),
                ("librdkafka", await self.librdkafka(codec)),
            ):
                # The usual producers gain nothing from a larger poll, and would make the bench last minutes.
                of_this = polls if name == "copied batches" else polls[:1]
                found += [Way(name, codec, poll, made(poll)) for poll in of_this]
        return found


def _headers(record: Outgoing) -> list[tuple[str, str | bytes | None]]:
    return [(name, content) for name, content in record.headers]


async def measure(
    ways: Sequence[Way], *, rounds: int, warm_ups: int, deliveries_each: int, broker: psutil.Process | None
) -> None:
    """Let the ways take turns, and note what each round took, those aside that warm up."""
    for turn in range(1 - warm_ups, rounds + 1):
        progress(f"round {turn} of {rounds}" if turn > 0 else "warming up")
        for way in ways:
            cpu, wall, broker_cpu = time.process_time(), time.perf_counter(), _cpu_seconds(broker)
            await way.write()
            if turn > 0:
                deliveries = way.poll * deliveries_each
                way.seconds.append((time.perf_counter() - wall) / deliveries)
                way.client_us.append((time.process_time() - cpu) * 1e6 / deliveries)
                way.broker_us.append((_cpu_seconds(broker) - broker_cpu) * 1e6 / deliveries)


def _cpu_seconds(broker: psutil.Process | None) -> float:
    if broker is None:
        return 0.0
    times = broker.cpu_times()
    return float(times.user + times.system)


def report(ways: Sequence[Way], *, is_own_broker: bool) -> None:
    """Print a line a way; each ratio is to the plain producers with the same codec."""
    peers = {(way.name, way.codec): median(way.seconds) for way in ways}
    rows = []
    for way in ways:
        took = median(way.seconds)
        ratios = [f"{peers[peer, way.codec] / took:.1f}" for peer in ("aiokafka", "librdkafka")]
        broker = f"{median(way.broker_us):.1f}" if is_own_broker else "-"
        figures = (str(way.poll), f"{1 / took:,.0f}", *ratios, f"{median(way.client_us):.1f}", broker)
        rows.append((f"{way.name}, {way.codec}", *figures))
    table(("way", "a poll", "deliveries/s", "x aiokafka", "x librdkafka", "client CPU µs", "broker CPU µs"), rows)


async def run(asked: argparse.Namespace, servers: str, broker_pid: int | None) -> None:
    """Measure on a cluster, under a prefix of its own."""
    world = World()
    records = [
        Outgoing(one.key, one.value, passed_on(one.headers, origin=str(one.origin)))
        for one in world.arrived(world.notices(max(asked.polls)))
    ]
    settings = KafkaSettings(
        bootstrap_servers=servers,
        prefix=f"bench-{secrets.token_hex(3)}-",
        transaction_timeout=_TIMEOUT,
        request_timeout=_TIMEOUT,
    )
    async with AsyncExitStack() as stack:
        bench = Bench(settings, stack, records)
        progress("making 226 inboxes")
        await bench.make_topics(world.directory.recipients())
        ways = await bench.ways(asked.codecs, asked.polls)
        broker = psutil.Process(broker_pid) if broker_pid is not None else None
        await measure(
            ways,
            rounds=asked.rounds,
            warm_ups=asked.warm_ups,
            deliveries_each=len(bench.inboxes),
            broker=broker,
        )
        size = sum(record.size_bytes for record in records) // len(records)
        print(f"Records of about {size} bytes with 11 headers to {len(bench.inboxes)} inboxes, one transaction a poll;")
        print(f"median of {asked.rounds} rounds; CPU for each delivery.")
        for codec in asked.codecs:
            made = templates(records[: asked.polls[0]], limit_bytes=1 << 20, compression=Compression[codec.upper()])
            packed = sum(template.size for template in made) / asked.polls[0]
            print(f"{codec} makes {packed:.0f} bytes of a record, {asked.polls[0]} in a batch.")
        report(ways, is_own_broker=broker is not None)


def main() -> None:
    """Measure, and print a line a way."""
    parser = arguments(__doc__)
    parser.add_argument(
        "--polls",
        type=lambda text: [int(one) for one in text.split(",")],
        default=[50, 200],
        help="notices in a transaction, comma-separated; the peers take the first (default: 50,200)",
    )
    parser.add_argument(
        "--codecs",
        type=lambda text: text.split(","),
        default=["lz4", "zstd"],
        help="comma-separated (default: lz4,zstd)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts (default: %(default)s)")
    parser.add_argument("--warm-ups", type=int, default=2, help="rounds before those (default: %(default)s)")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with kafka() as (servers, broker_pid), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(asked, servers, broker_pid))


if __name__ == "__main__":
    main()
