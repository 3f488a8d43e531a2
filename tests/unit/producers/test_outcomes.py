"""Outcomes that are waited for: what ends the reading is told, and nothing is remembered for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from broker.errors import CorruptHistoryError, UnavailableError
from broker.members.directory import Directory
from broker.schema.codec import Codec
from broker.transport.kafka import TopicPartition
from broker.transport.reader import RawBatch
from producers import outcomes
from producers.outcomes import OutcomeWatch
from tests.support.inbox_world import InboxWorld, a_batch, a_notice

SOON, LATE = timedelta(milliseconds=20), timedelta(seconds=20)
CODEC = Codec.load()
GONE = CorruptHistoryError("inbox.ipsg/0/7", "the log begins at 9")


class _Cluster:
    """A client, a reader and a follower at once; answers what it is handed."""

    def __init__(self, world: InboxWorld) -> None:
        self.world = world
        self.positions: dict[TopicPartition, int] = {}
        self.answers: asyncio.Queue[list[RawBatch] | Exception] = asyncio.Queue()

    async def end_offset(self, _partition: TopicPartition) -> int:
        return 0

    async def at_its_end(self) -> Directory:
        return self.world.directory

    def assign(self, partition: TopicPartition, offset: int) -> None:
        self.positions[partition] = offset

    def advance(self, partition: TopicPartition, next_offset: int) -> None:
        self.positions[partition] = next_offset

    async def poll(self) -> list[tuple[TopicPartition, list[RawBatch]]]:
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return [(TopicPartition("inbox.ipsg", 0), answer)]

    async def close(self) -> None:
        return None


@pytest.fixture
def cluster() -> _Cluster:
    return _Cluster(InboxWorld(CODEC))


@pytest.fixture
async def watch(cluster: _Cluster, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OutcomeWatch]:
    monkeypatch.setattr(outcomes, "RawReader", lambda *_, **__: cluster)
    anything: Any = cluster
    watch = OutcomeWatch(client=anything, follower=anything, codec=CODEC)
    yield watch
    await watch.close()


async def test_what_ends_the_reading_is_what_the_caller_hears(cluster: _Cluster, watch: OutcomeWatch) -> None:
    """An error that trying again does not mend is raised by who waits now and by who asks later; closing is clean."""
    await watch.expect("ipsg", UUID(int=1), b"")
    await watch.expect("ipsg", UUID(int=2), b"")
    waiting = asyncio.create_task(watch.wait(UUID(int=1), LATE))
    cluster.answers.put_nowait(GONE)

    with pytest.raises(CorruptHistoryError, match="the log begins at 9"):
        await waiting
    with pytest.raises(CorruptHistoryError, match="the log begins at 9"):
        await watch.wait(UUID(int=2), LATE)
    await watch.close()


async def test_an_outcome_that_came_before_the_error_is_told(cluster: _Cluster, watch: OutcomeWatch) -> None:
    """What is known stays known, whatever became of the reading since."""
    message = a_notice()
    await watch.expect("ipsg", message.message_id, sha256(CODEC.encode(message)).digest())
    await watch.expect("ipsg", UUID(int=1), b"")
    cluster.answers.put_nowait([a_batch(cluster.world.record(cluster.world.outcome_of(message, bureau="ipsg")))])
    cluster.answers.put_nowait(GONE)
    with pytest.raises(CorruptHistoryError):
        await watch.wait(UUID(int=1), LATE)

    assert (await watch.wait(message.message_id, LATE)).message_id == message.message_id


async def test_kafka_that_is_away_ends_nothing(cluster: _Cluster, watch: OutcomeWatch) -> None:
    """It is asked again, and whoever waits is told that there is none yet."""
    await watch.expect("ipsg", UUID(int=1), b"")
    cluster.answers.put_nowait(UnavailableError("no broker"))

    with pytest.raises(UnavailableError, match="no outcome of"):
        await watch.wait(UUID(int=1), SOON)


async def test_what_was_told_is_forgotten(cluster: _Cluster, watch: OutcomeWatch) -> None:
    """A message that was published twice is told about twice, and then takes no memory."""
    message = a_notice()
    for _ in range(2):
        await watch.expect("ipsg", message.message_id, sha256(CODEC.encode(message)).digest())
    cluster.answers.put_nowait([a_batch(cluster.world.record(cluster.world.outcome_of(message, bureau="ipsg")))])

    for _ in range(2):
        await watch.wait(message.message_id, LATE)
    with pytest.raises(KeyError):
        await watch.wait(message.message_id, LATE)


async def test_what_nobody_asks_for_is_given_up(
    cluster: _Cluster, watch: OutcomeWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of more outcomes than it may expect, the oldest that nobody waits for goes first."""
    monkeypatch.setattr(outcomes, "EXPECTED_MAX", 2)
    await watch.expect("ipsg", UUID(int=1), b"")
    waiting = asyncio.create_task(watch.wait(UUID(int=1), LATE))
    await asyncio.sleep(0)
    for number in (2, 3):
        await watch.expect("ipsg", UUID(int=number), b"")

    with pytest.raises(KeyError):
        await watch.wait(UUID(int=2), SOON)
    with pytest.raises(UnavailableError):
        await watch.wait(UUID(int=3), SOON)
    cluster.answers.put_nowait(GONE)
    with pytest.raises(CorruptHistoryError):
        await waiting
