"""The producer's client against a real Kafka."""

from __future__ import annotations

import asyncio
import hashlib
import json
from base64 import b64decode
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiokafka.partitioner import murmur2

from broker.cli.context import Endpoints, KafkaEndpoint
from broker.clock import SystemClock
from broker.errors import InvalidFieldError, InvalidMessageError, RefusedError, UnavailableError
from broker.model.diffusion import Diffusion
from broker.model.naming import FEED_KINDS, Region, feed, shard_of
from broker.model.notice import Notice
from broker.model.outcome import Verdict
from broker.transport.kafka import TopicPartition
from broker.trust.keys import generate
from broker.trust.signing import RecordKind, verify
from producers.client import Producer, Published
from producers.files import Entry
from producers.outcomes import OutcomeWatch
from producers.preparation import prepare
from tests.support.builders import a_red_notice, bureaus, regions
from tests.support.plain import read
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world

FEEDS = [f"{kind}.{region}" for kind in FEED_KINDS[:2] for region in Region]


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path) as world:
        yield world


def a_producer(world: World, **parts: Any) -> Producer:
    usual: dict[str, Any] = {
        "signers": world.keys,
        "follower": world.link.follower,
        "publisher": world.link.publisher,
        "codec": world.link.codec,
    }
    return Producer(**usual | parts)


async def test_a_message_lands_once_where_a_stranger_looks_for_it(world: World) -> None:
    """One record, in Kafka's own partition for the number, with readable CloudEvents headers and a good signature."""
    message = a_red_notice(number="zw-n-2026-000123", event="requested")
    async with a_producer(world) as producer:
        published = await producer.publish(message)

    [record] = await read(world.kafka, *FEEDS)
    assert (record.topic, record.partition, record.offset) == (published.topic, published.partition, published.offset)
    assert record.topic == "notices.africa"
    assert record.partition == (murmur2(b"zw-n-2026-000123") & 0x7FFFFFFF) % 2
    assert record.key == b"zw-n-2026-000123"
    assert record.value["message_id"] == message.message_id
    assert record.headers["ce_id"].decode() == str(message.message_id)
    assert record.headers["ce_subject"] == b"zw-n-2026-000123"
    assert record.headers["ce_type"] == b"noticewire.notice.requested"
    assert record.headers["content-type"] == b"application/vnd.confluent.avro"
    assert record.headers["traceparent"].count(b"-") == 3
    signer = world.keys.signer("zw")
    assert record.headers["key-id"].decode() == signer.key_id
    signature = b64decode(record.headers["signature"])
    assert verify(signer.public, signature, RecordKind.MESSAGE, world.installation, record.raw)


def _entry(tmp_path: Path, **fields: Any) -> Entry:
    content = json.loads(a_red_notice(number="zw-n-2026-000001", event="requested").model_dump_json()) | fields
    return Entry("here[entry 1]", tmp_path, content)


ATTACHMENT = {"kind": "photograph", "uri": "store:photo", "path": "photo.jpg"}

BAD: dict[str, tuple[dict[str, Any], str]] = {
    "unknown country": (
        {"subject": {"kind": "person", "role": "charged", "person": {"nationalities": [{"country": "JJ"}]}}},
        "subject.person.nationalities[0].country",
    ),
    "impossible date": ({"retained_until": "2027-02-30"}, "retained_until"),
    "empty circulation": ({"circulation": {"scope": "bureaus"}}, "circulation.bureaus"),
    "excludes every recipient": (
        {"circulation": {"scope": "regions", "regions": ["europe"], "exclusions": ["fr", "de"]}},
        "circulation",
    ),
    "all are excluded by name": (
        {"circulation": {"scope": "bureaus", "bureaus": ["fr"], "exclusions": ["fr"]}},
        "circulation",
    ),
    "only the owner is left": ({"circulation": {"scope": "bureaus", "bureaus": ["zw"]}}, "circulation"),
    "unknown bureau": ({"circulation": {"scope": "bureaus", "bureaus": ["fr", "xx"]}}, "circulation.bureaus[1]"),
    "another region": ({"region": "europe"}, "region"),
    "oversized text": (
        {"texts": [{"language": "en", "title": "Too long", "body": "x" * 20_001}]},
        "texts[0].body",
    ),
    "attachment with a wrong digest": ({"attachments": [ATTACHMENT | {"sha256": "00" * 32}]}, "attachments[0].sha256"),
    "attachment with a wrong size": ({"attachments": [ATTACHMENT | {"size_bytes": 1}]}, "attachments[0].size_bytes"),
    "another number": ({"number": "fr-n-2026-000001"}, "number"),
    "misspelt field": ({"urgencey": "urgent"}, "urgencey"),
}


async def test_bad_input_is_refused_and_nothing_is_written(world: World, tmp_path: Path) -> None:
    """Each kind of bad input is refused with its field and the rule, and every feed ends where it ended before."""
    (tmp_path / "photo.jpg").write_bytes(b"not really a photograph")
    before = await world.link.client.end_offsets(_partitions())

    refused = {}
    for name, (fields, _) in BAD.items():
        with pytest.raises(RefusedError) as caught:
            await _publish(world, _entry(tmp_path, **fields))
        refused[name] = caught.value

    for name, (_, field) in BAD.items():
        error = refused[name]
        problems = error.problems if isinstance(error, InvalidMessageError) else (error,)
        named = {problem.field: problem for problem in problems if isinstance(problem, InvalidFieldError)}
        assert field in named, f"{name}: {error}"
        assert named[field].rule
    assert await world.link.client.end_offsets(_partitions()) == before


async def test_a_good_attachment_is_digested_and_published(world: World, tmp_path: Path) -> None:
    """A local file gives its digest, size and media type; its path does not travel."""
    (tmp_path / "photo.jpg").write_bytes(b"not really a photograph")

    await _publish(world, _entry(tmp_path, attachments=[ATTACHMENT]))

    [record] = await read(world.kafka, *FEEDS)
    [attachment] = record.value["attachments"]
    assert attachment["sha256"] == hashlib.sha256(b"not really a photograph").digest()
    assert (attachment["size_bytes"], attachment["media_type"]) == (23, "image/jpeg")
    assert b"photo.jpg" not in record.raw


async def _publish(world: World, entry: Entry) -> Published:
    async with a_producer(world) as producer:
        directory = await producer.directory()
        return await producer.publish(prepare(entry, directory=directory, now=SystemClock().now()))


def _partitions() -> list[TopicPartition]:
    return [TopicPartition(topic, partition) for topic in FEEDS for partition in range(2)]


async def test_only_the_holder_of_an_issuers_key_publishes(world: World) -> None:
    """Who has another bureau's key is refused, and so is who has none."""

    class OneKey:
        def signer(self, _code: str) -> Any:
            return generate("fr")

    with pytest.raises(InvalidMessageError, match="issuer: is not fr"):
        await a_producer(world, signers=OneKey()).publish(a_red_notice(event="requested"))
    assert await read(world.kafka, *FEEDS) == []


async def test_many_are_published_in_order_and_refusals_stop_nothing(world: World) -> None:
    """Results come in the order given, and messages of one notice lie on the feed in that order."""
    wrong = a_red_notice(number="zw-n-2026-000003", event="requested", circulation=bureaus("xx"))
    messages: list[Notice | Diffusion] = []
    for serial in range(10, 20):
        number = f"zw-n-2026-{serial:06d}"
        messages += [a_red_notice(number=number, event="requested"), a_red_notice(number=number, event="published")]
    messages.insert(7, wrong)
    async with a_producer(world) as producer:
        results = [result async for result in producer.publish_many(messages, in_flight_max=4)]

    assert [result.index for result in results] == list(range(21))
    assert [result.index for result in results if isinstance(result.result, RefusedError)] == [7]
    landed = [result.result for result in results if isinstance(result.result, Published)]
    records = {(one.topic, one.partition, one.offset): one.value for one in await read(world.kafka, *FEEDS)}
    assert len(records) == 20
    assert {one.message_id for one in landed} == {value["message_id"] for value in records.values()}
    for key in {message.number for message in messages if message is not wrong}:
        events = [value["event"] for _, value in sorted(records.items()) if value["number"] == key]
        assert events == ["requested", "published"]


async def test_back_pressure_bounds_what_is_under_way(world: World) -> None:
    """Messages are asked for only as earlier ones land: never more than the bound ahead of the results."""
    asked = 0

    def messages() -> Any:
        nonlocal asked
        for serial in range(30):
            asked += 1
            yield a_red_notice(number=f"zw-n-2026-{serial + 1:06d}", event="requested")

    taken = 0
    async with a_producer(world) as producer:
        async for _ in producer.publish_many(messages(), in_flight_max=5):
            taken += 1
            assert asked - taken <= 5


async def test_the_outcome_comes_from_the_issuers_inbox(world: World) -> None:
    """The router's word reaches the producer: routed, a repeat of the same object, and a rejection with its reason."""
    watch = OutcomeWatch(client=world.link.client, follower=world.link.follower, codec=world.link.codec)
    request = a_red_notice(number="zw-n-2026-000001", event="requested", circulation=regions("europe"))
    same_shard = (f"zw-n-2026-{serial:06d}" for serial in range(2, 99))
    number = next(number for number in same_shard if shard_of(number, Region.AFRICA) == request.shard)
    early = a_red_notice(number=number, event="suspended")
    async with a_producer(world, outcomes=watch) as producer:
        first = await producer.publish(request)
        second = await producer.publish(request)
        await producer.publish(early)
        with pytest.raises(UnavailableError):
            await producer.outcome(request.message_id, timeout=timedelta(milliseconds=50))
        await world.route(request.shard)
        outcome = await producer.outcome(request.message_id)
        rejected = await producer.outcome(early.message_id)

    records = [one.raw for one in await read(world.kafka, feed(request.parsed_number.message_class, request.region))]
    assert records[0] == records[1]
    assert second.offset == first.offset + 1
    assert (outcome.verdict, outcome.given, outcome.origin) == (Verdict.ROUTED, 1, first.origin)
    assert (rejected.verdict, rejected.reason) == (Verdict.REJECTED, "no_beginning")


async def test_publishing_goes_on_after_kafka_was_away(world: World) -> None:
    """A write that finds nobody is tried again with the same bytes, for a bounded time."""

    class Flaky:
        def __init__(self) -> None:
            self.values: list[bytes] = []

        async def publish(self, topic: str, **parts: Any) -> Any:
            self.values.append(parts["value"])
            if len(self.values) < 3:
                raise UnavailableError("away")
            return await world.link.publisher.publish(topic, **parts)

    flaky = Flaky()
    await a_producer(world, publisher=flaky).publish(a_red_notice(event="requested"))
    assert len(flaky.values) == 3
    assert len(set(flaky.values)) == 1

    flaky.values = [b"", b""][:0]
    with pytest.raises(UnavailableError):
        await a_producer(world, publisher=flaky, retry_for=timedelta(milliseconds=100)).publish(
            a_red_notice(event="requested")
        )


async def test_the_sdk_finds_what_runs_by_its_data_folder(world: World) -> None:
    """`Producer.connect(data=...)` needs nothing but the folder that holds the addresses and the keys."""
    endpoint = KafkaEndpoint(bootstrap_servers=world.kafka.bootstrap_servers, prefix=world.kafka.prefix)
    await asyncio.to_thread(Endpoints(kafka=endpoint).write, world.data)

    async with Producer.connect(data=world.data, outcomes=False) as producer:
        published = await producer.publish(a_red_notice(number="zw-n-2026-000007", event="requested"))

    assert published.origin == f"notices.africa/{published.partition}/0"
