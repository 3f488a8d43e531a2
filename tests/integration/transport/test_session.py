from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, RequestTimedOutError
from aiokafka.protocol.transaction import EndTxnRequest

from broker.errors import FencedError, UnavailableError
from broker.settings import KafkaSettings
from broker.transport.fanout import Outgoing, TooLargeError
from broker.transport.kafka import RawClient, ShardProducer, TopicPartition
from broker.transport.reader import Marker, RawReader
from broker.transport.session import ShardSession
from tests.support.eventually import eventually_async
from tests.support.kafka import create_topics, plain_read
from tests.support.shared_kafka import SharedKafka

LEDGER = TopicPartition("ledger.africa", 0)
INBOXES = [f"inbox.b{number}" for number in range(5)]
TARGETS = [TopicPartition(inbox, 0) for inbox in INBOXES]


@pytest.fixture
async def settings(kafka: SharedKafka, prefix: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, prefix=prefix)
    await create_topics(settings, {LEDGER.topic: 2, **dict.fromkeys(INBOXES, 1)}, {"max.message.bytes": "1200000"})
    return settings


@pytest.fixture
async def client(settings: KafkaSettings) -> AsyncIterator[RawClient]:
    client = RawClient(settings, client_id="session-test")
    await client.start()
    yield client
    await client.stop()


@pytest.fixture
async def sessions(settings: KafkaSettings, client: RawClient) -> AsyncIterator[list[ShardSession]]:
    """Two sessions of one shard, dropped after the test."""
    sessions = [
        ShardSession(kafka=settings, client=client, transactional_id="router-africa-0", ledger=LEDGER) for _ in range(2)
    ]
    yield sessions
    for session in sessions:
        await session.drop()


def records(*values: bytes) -> list[Outgoing]:
    return [Outgoing(b"zw-n-2026-000001", value, (("ce_id", value[:10]), ("empty", None))) for value in values]


async def write(session: ShardSession, values: list[Outgoing]) -> None:
    async with session.transaction() as transaction:
        await transaction.write({**dict.fromkeys(TARGETS, values), LEDGER: records(b"entry")})


async def ends(client: RawClient) -> list[int]:
    return list((await client.end_offsets(TARGETS)).values())


async def test_copies_are_what_a_plain_consumer_reads(settings: KafkaSettings, sessions: list[ShardSession]) -> None:
    """Over several transactions each inbox holds the same records in the same order, key, value and headers exact."""
    session, _ = sessions
    assert await session.take(INBOXES) == 0
    written = [records(b"a", b"b" * 3000), records(b"c"), records(*(b"%d" % number for number in range(300)))]
    for values in written:
        await write(session, values)

    for inbox in INBOXES:
        read = await plain_read(settings, inbox)
        assert [(r.key, r.value, r.headers) for r in read] == [
            (o.key, o.value, o.headers) for values in written for o in values
        ]
    await session.drop()
    assert await session.take(INBOXES) == 2 * len(written)  # an entry and a marker each


async def test_a_batch_is_split_by_size(
    settings: KafkaSettings, sessions: list[ShardSession], client: RawClient
) -> None:
    """More than one batch for one inbox arrives whole and in order, its sequence numbers as the broker expects."""
    session, _ = sessions
    await session.take(INBOXES)
    for turn in range(2):
        await write(session, records(*(b"%d-%d" % (turn, number) + b"x" * 400_000 for number in range(5))))

    read = await plain_read(settings, INBOXES[0])
    assert [(r.value or b"")[:3] for r in read] == [b"%d-%d" % (turn, n) for turn in range(2) for n in range(5)]
    assert len(set(await ends(client))) == 1


async def test_a_record_over_the_limit_is_refused_before_anything_is_sent(
    client: RawClient, sessions: list[ShardSession]
) -> None:
    """Size is checked first, since a produce error would spoil the partition's sequence; nothing reaches the log."""
    session, _ = sessions
    await session.take(INBOXES)

    with pytest.raises(TooLargeError, match=r"over the limit of 1065536"):
        await write(session, records(b"fits", b"x" * 1_100_000))

    assert await ends(client) == [0] * 5


async def test_nothing_is_committed_when_one_send_fails(settings: KafkaSettings, sessions: list[ShardSession]) -> None:
    """Where one target takes none of it, no target shows it, although aiokafka's own commit would commit the rest."""
    session, _ = sessions
    await create_topics(settings, {"inbox.small": 1}, {"max.message.bytes": "500"})
    await session.take([*INBOXES, "inbox.small"])
    values = records(random.Random(1).randbytes(2000))

    async def write_to_all() -> None:
        async with session.transaction() as transaction:
            await transaction.write(dict.fromkeys([*TARGETS, TopicPartition("inbox.small", 0)], values))

    with pytest.raises(UnavailableError, match="MessageSizeTooLarge"):
        await write_to_all()

    await session.drop()
    await session.take(INBOXES)
    assert await plain_read(settings, *INBOXES) == []


async def test_a_newer_session_fences_the_older(
    settings: KafkaSettings, client: RawClient, sessions: list[ShardSession]
) -> None:
    """What the older one has written and not committed is aborted; its commit raises, its records are never read."""
    older, newer = sessions
    await older.take(INBOXES)
    await write(older, records(b"first"))

    async def write_and_be_fenced() -> None:
        async with older.transaction() as transaction:
            await transaction.write(dict.fromkeys(TARGETS, records(b"never")))
            await transaction.settle()
            assert await newer.take(INBOXES) == 2

    with pytest.raises(FencedError):
        await write_and_be_fenced()
    await write(newer, records(b"second"))

    assert [r.value for r in await plain_read(settings, INBOXES[0])] == [b"first", b"second"]
    reader = RawReader(client, {TARGETS[0]: 0}, committed=True, lane="x")
    markers: list[Marker] = []
    aborted = 0
    while reader.positions[TARGETS[0]] < await client.end_offset(TARGETS[0], committed=True):
        for target, batches in await reader.poll():
            markers += [batch.marker for batch in batches if batch.marker]
            aborted += sum(batch.is_aborted for batch in batches)
            reader.advance(target, batches[-1].next_offset)
    await reader.close()
    assert (markers, aborted) == ([Marker.COMMIT, Marker.ABORT, Marker.COMMIT], 1)


async def test_a_fenced_session_cannot_begin_again(sessions: list[ShardSession]) -> None:
    """A session that finds out by its next transaction is told that it is fenced, too."""
    older, newer = sessions
    await older.take(INBOXES)
    await newer.take(INBOXES)

    with pytest.raises(FencedError):
        await write(older, records(b"late"))
    with pytest.raises(RuntimeError, match="drop it"):
        await write(older, records(b"later"))


async def test_a_transaction_that_times_out_is_fenced(kafka: SharedKafka, settings: KafkaSettings) -> None:
    """When the broker has ended our transaction by its time-out, its commit says that we are fenced."""
    short = KafkaSettings(
        bootstrap_servers=kafka.bootstrap_servers, prefix=settings.prefix, transaction_timeout=timedelta(seconds=1)
    )
    client = RawClient(settings, client_id="x")
    await client.start()
    session = ShardSession(kafka=short, client=client, transactional_id="router-africa-1", ledger=LEDGER)
    session._kafka = short
    await session.take(INBOXES)
    session._kafka = settings  # we wait longer than the broker does

    async def ended() -> bool:
        return await client.end_offset(TARGETS[0]) == await client.end_offset(TARGETS[0], committed=True)

    async def write_slowly() -> None:
        async with session.transaction() as transaction:
            await transaction.write({TARGETS[0]: records(b"slow")})
            await transaction.settle()
            await eventually_async(ended, seconds=9, what="the broker has ended the transaction")

    with pytest.raises(FencedError):
        await write_slowly()
    await session.drop()
    await client.stop()


@pytest.mark.parametrize("request_name", ["AddPartitionsToTxnRequest", "ProduceRequest", "EndTxnRequest"])
@pytest.mark.parametrize("effect", ["before", "after"])
async def test_a_request_without_an_answer_is_not_repeated(
    settings: KafkaSettings, sessions: list[ShardSession], request_name: str, effect: str
) -> None:
    """An unanswered transactional request ends the session, whether or not it took effect; taking again mends all."""
    session, _ = sessions
    await session.take(INBOXES)
    await write(session, records(b"first"))
    producer = session._producer
    assert isinstance(producer, ShardProducer)
    seen: list[str] = []
    real = producer._send_any

    async def broken(node: int, request: Any, *, group: Any) -> Any:
        if type(request).__name__ != request_name:
            return await real(node, request, group=group)
        seen.append(request_name)
        if effect == "after":
            await real(node, request, group=group)
            raise RequestTimedOutError
        raise KafkaConnectionError("broken")

    producer._send_any = broken
    with pytest.raises(UnavailableError):
        async with asyncio.timeout(5):
            await write(session, records(b"second"))
    assert seen == [request_name]

    await session.drop()
    end = await session.take(INBOXES)
    committed = [r.value for r in await plain_read(settings, LEDGER.topic)]
    took_effect = request_name == "EndTxnRequest" and effect == "after"
    assert committed == [b"entry"] * (2 if took_effect else 1)
    assert end >= 2 * len(committed)
    await write(session, records(b"third"))
    values = [r.value for r in await plain_read(settings, INBOXES[4])]
    assert values == ([b"first", b"second", b"third"] if took_effect else [b"first", b"third"])


async def test_the_commit_outlives_its_caller(settings: KafkaSettings, sessions: list[ShardSession]) -> None:
    """Cancelling who waits for a commit does not cancel the commit."""
    session, _ = sessions
    await session.take(INBOXES)
    producer = session._producer
    assert isinstance(producer, ShardProducer)
    asked, go = asyncio.Event(), asyncio.Event()
    real = producer._send_any

    async def held(node: int, request: Any, *, group: Any) -> Any:
        if isinstance(request, EndTxnRequest):
            asked.set()
            await go.wait()
        return await real(node, request, group=group)

    producer._send_any = held
    writing = asyncio.create_task(write(session, records(b"whole")))
    await asked.wait()
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    commit = session._committing
    assert commit is not None
    go.set()
    await commit

    assert [r.value for r in await plain_read(settings, INBOXES[0])] == [b"whole"]


async def test_missing_topics_are_named_when_taking(sessions: list[ShardSession]) -> None:
    """A topic that was not made is told when the shard is taken, not by a write that waits for ever."""
    session, _ = sessions
    with pytest.raises(UnavailableError, match=r"missing: inbox\.nobody; run noticewire topics apply"):
        await session.take([*INBOXES, "inbox.nobody"])
