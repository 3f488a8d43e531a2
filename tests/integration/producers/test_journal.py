"""The publisher's journal against a real Kafka: killed publishers, a Kafka that is away."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from broker.embedded import EmbeddedKafka
from broker.errors import MisuseError, UnavailableError
from broker.model.message import Message
from broker.model.naming import Region, Shard
from broker.model.notice import Notice
from broker.model.outcome import Verdict
from producers.client import Producer
from tests.support.builders import a_red_notice, regions
from tests.support.plain import read
from tests.support.processes import write_endpoints
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world

PROGRAM = Path(__file__).parents[2] / "support" / "publisher_program.py"
SHARDS = [Shard(Region.AFRICA, partition) for partition in (0, 1)]


def requests(count: int, *, first: int = 1) -> list[Notice]:
    """Requests and their withdrawals, which must not overtake them."""
    numbers = [f"zw-n-2026-{serial:06d}" for serial in range(first, first + count)]
    return [a_red_notice(number=number, event="requested", circulation=regions("europe")) for number in numbers] + [
        a_red_notice(number=number, event="withdrawn", issuer="zw", revision=0) for number in numbers
    ]


async def publisher(world: World, messages: Sequence[Message], *, fault: str = "") -> int:
    """Run the program to its end, with its own journal; return its exit code."""
    file = world.data / "messages.jsonl"
    file.write_text("\n".join(message.model_dump_json() for message in messages), encoding="utf-8")
    argv = [sys.executable, str(PROGRAM), str(world.data), str(file), str(journal(world)), str(accepted(world))]
    environment = {**os.environ, "NOTICEWIRE_FAULT": fault, "PYTHONPATH": str(PROGRAM.parents[2])}
    environment.pop("NOTICEWIRE_KAFKA__BOOTSTRAP_SERVERS", None)
    process = await asyncio.create_subprocess_exec(*argv, env=environment, stderr=subprocess.PIPE)
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    assert process.returncode in {0, -signal.SIGKILL}, errors.decode()
    return process.returncode


def journal(world: World) -> Path:
    return world.data / "publisher.db"


def accepted(world: World) -> Path:
    return world.data / "accepted"


def told(world: World) -> list[str]:
    return accepted(world).read_text().split()


async def landed(world: World, bureau: str) -> list[str]:
    await world.route(*SHARDS)
    return await world.messages_in(bureau)


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "fr")) as world:
        await asyncio.to_thread(write_endpoints, world)
        yield world


@pytest.mark.parametrize("point", ["after_journal:3:SIGKILL", "after_send:1:SIGKILL", "after_send:4:SIGKILL"])
async def test_a_killed_publisher_loses_and_doubles_nothing(world: World, point: str) -> None:
    """Killed between journal and send, or between send and mark: after a restart each message is in the inbox once."""
    messages = requests(3)
    assert await publisher(world, messages, fault=point) == -signal.SIGKILL
    before = told(world)
    assert before == [str(message.message_id) for message in messages][: len(before)]
    if point.startswith("after_journal:3"):
        assert len(before) == 2, "the third was on the disk, and nobody was told so"
    assert await publisher(world, messages) == 0

    assert told(world) == [str(message.message_id) for message in messages]
    inbox = await landed(world, "ipsg")
    assert sorted(inbox) == sorted(set(told(world)))
    for requested, withdrawn in zip(messages[:3], messages[3:], strict=True):
        assert inbox.index(str(requested.message_id)) < inbox.index(str(withdrawn.message_id))
    entries = await world.read_ledger(SHARDS)
    kinds = [one.value["kind"] for one in entries if one.value["kind"] != "passed_over"]
    assert kinds.count("routed") == len(messages)
    assert kinds.count("rejected") == 0
    if point.startswith("after_send"):
        assert kinds.count("repeat") >= 1, "the fault took place between send and mark, so something was sent twice"


async def test_what_only_the_journal_had_is_sent_by_the_next_one(world: World) -> None:
    """The message whose `accept` never returned, but which was on the disk, is sent by a start with nothing to do."""
    messages = requests(1)
    assert await publisher(world, messages, fault="after_journal:1:SIGKILL") == -signal.SIGKILL
    assert told(world) == []
    assert await landed(world, "ipsg") == []

    assert await publisher(world, []) == 0
    assert await landed(world, "ipsg") == [str(messages[0].message_id)]


async def test_publish_returns_once_kafka_has_it_and_tells_the_outcome(world: World) -> None:
    """With a journal `publish` means what it means without; nothing is left in the journal, and outcomes come."""
    message = requests(1)[0]
    async with Producer.connect(data=world.data, journal=journal(world)) as producer:
        published = await producer.publish(message)
        await world.route(message.shard)
        outcome = await producer.outcome(message.message_id)
        assert outcome.verdict is Verdict.ROUTED
        assert outcome.origin == published.origin
        with pytest.raises(MisuseError, match="in use by process"):
            async with Producer.connect(data=world.data, journal=journal(world)):
                pass
    key = world.data / "keys" / "journal.key"
    assert key.stat().st_mode & 0o777 == 0o600


async def test_many_go_through_the_journal_in_order(world: World) -> None:
    """`publish_many` works the same, and messages of one notice lie on the feed in their order."""
    messages = requests(20)
    async with Producer.connect(data=world.data, journal=journal(world), outcomes=False) as producer:
        results = [result async for result in producer.publish_many(messages)]

    assert [result.message for result in results] == messages
    feed = [record.value["message_id"] for record in await read(world.kafka, "notices.africa")]
    assert len(feed) == 40
    for requested, withdrawn in zip(messages[:20], messages[20:], strict=True):
        assert feed.index(requested.message_id) < feed.index(withdrawn.message_id)


@pytest.mark.slow
async def test_kafka_may_be_away_while_publishing(tmp_path: Path) -> None:
    """While Kafka is away `accept` goes on and `publish` says so in time; all of it lands when Kafka is back, once."""
    embedded = EmbeddedKafka(tmp_path / "kafka")
    await asyncio.to_thread(embedded.start)
    try:
        async with a_world(embedded.bootstrap_servers, "", tmp_path / "data", bureaus=("zw", "fr")) as world:
            await asyncio.to_thread(write_endpoints, world)
            messages = requests(5)
            async with Producer.connect(
                data=world.data, outcomes=False, journal=journal(world), retry_for=timedelta(seconds=1)
            ) as producer:
                await producer.publish(messages[0])
                await asyncio.to_thread(embedded.kill)
                for message in messages[1:-1]:
                    begun = time.monotonic()
                    await producer.accept(message)
                    assert time.monotonic() - begun < 5
                with pytest.raises(UnavailableError, match="the journal has it"):
                    await producer.publish(messages[-1])
                assert not await producer.drain(within=timedelta(milliseconds=100))
                await asyncio.to_thread(embedded.start)
                assert await producer.drain(within=timedelta(seconds=90))
                assert await producer.failures() == []
            assert sorted(await landed(world, "ipsg")) == sorted(str(message.message_id) for message in messages)
    finally:
        await asyncio.to_thread(embedded.stop)
