"""confluent-kafka with its own serializers and the gateway as its registry, by the code that the guide shows."""

from __future__ import annotations

import asyncio
import json
import os
import re
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

from broker.clock import SystemClock
from broker.endpoints import Endpoints, KafkaEndpoint, ServiceEndpoint
from broker.gateway.app import build
from broker.model.command import Command, CommandKind
from broker.model.naming import Region, Shard, acks, commands, inbox, partition_of
from broker.model.outcome import BROKER
from broker.schema.catalogue import Catalogue
from broker.transport.headers import signed_headers
from broker.trust.signing import RecordKind
from consumers.bureau.client import Inbox
from consumers.bureau.host import accept_or_purge
from tests.support.builders import a_red_notice, an_arrest_diffusion
from tests.support.eventually import eventually_async
from tests.support.http import serving_http
from tests.support.inboxes import receipts
from tests.support.plain import SCHEMAS, read
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world

GUIDE = Path(__file__).parents[2] / "docs" / "integrate.md"
AFRICA = [Shard(Region.AFRICA, 0), Shard(Region.AFRICA, 1)]
APART = "zw-d-2026-700001"
"""A number that murmur2 and librdkafka's own partitioner put into different partitions."""

Guide = Callable[..., dict[str, Any]]


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    """An installation whose gateway runs, and says so in `endpoints.json` as `noticewire up` does."""
    app = build(catalogue=Catalogue.load(), prefix=prefix)
    data = tmp_path / "noticewire-data"
    async with a_world(kafka.bootstrap_servers, prefix, data, bureaus=("zw", "ke", "fr")) as world:
        with serving_http(app) as url:
            Endpoints(
                kafka=KafkaEndpoint(bootstrap_servers=kafka.bootstrap_servers, prefix=prefix),
                installation=world.installation,
                root_key=world.keys.signer("ipsg").public.hex(),
                services={"gateway": ServiceEndpoint(pid=os.getpid(), url=url)},
            ).write(data)
            yield world


@pytest.fixture
def guide(world: World, monkeypatch: pytest.MonkeyPatch) -> Guide:
    """The guide's program, as it stands there, in the folder in which its reader would stand."""
    section = GUIDE.read_text("utf-8").partition("## Without our SDK")[2].partition("\n## ")[0]
    (program,) = re.findall(r"^```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(world.data.parent)

    def run(*, without: str = "") -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "guide"}
        assert without in program
        exec(compile(program.replace(without, ""), str(GUIDE), "exec"), names)  # noqa: S102 - our own document
        return names

    return run


async def test_reads_every_topic_and_is_routed(world: World, guide: Guide) -> None:
    """The guide's diffusion is routed; AvroDeserializer reads every topic as a plain reader with the files does."""
    program = guide()
    await world.publish(a_red_notice(event="requested"))
    sent = await asyncio.to_thread(program["send"], APART)
    await remind(world, APART)
    wrong = guide(without='"partitioner": "murmur2_random",')
    await asyncio.to_thread(wrong["send"], APART)
    await world.route(*AFRICA)
    await accept(world, "ke")

    assert sent.partition() == partition_of(APART.encode())
    topics = ["directory", "rejected", *(inbox(code) for code in ("zw", "ke", "fr"))]
    topics += [f"{kind}.africa" for kind in ("notices", "diffusions", "ledger", "acks", "commands")]
    plain = await read(world.kafka, *topics)
    seen = await asyncio.to_thread(lambda: list(program["read"](*topics)))
    assert {(one.topic, one.partition, one.offset): one.value for one in plain} == {
        (record.topic().removeprefix(world.kafka.prefix), record.partition(), record.offset()): value
        for record, value in seen
    }
    assert {one.topic for one in plain} == set(topics)
    assert {one.subject for one in plain} == {subject for subject, _ in SCHEMAS.values()} - {"notice-of-end"}

    routed = [one for one in await world.read_inbox("ke") if one.key == APART.encode() and one.subject == "diffusion"]
    assert [one.raw for one in routed] == [sent.value()]
    outcome = outcomes(await world.read_inbox("zw"))[f"diffusions.africa/{sent.partition()}/{sent.offset()}"]
    assert (outcome["verdict"], outcome["given"]) == ("routed", 2)


async def test_another_partitioner_is_told_the_mend(world: World, guide: Guide) -> None:
    """What librdkafka's own partitioner misplaces is rejected, and issuer and desk are told which setting mends it."""
    program = guide(without='"partitioner": "murmur2_random",')
    assert zlib.crc32(APART.encode()) % 2 != partition_of(APART.encode())

    sent = await asyncio.to_thread(program["send"], APART)
    await world.route(*AFRICA)

    [rejection] = await read(world.kafka, "rejected")
    outcome = outcomes(await world.read_inbox("zw"))[f"diffusions.africa/{sent.partition()}/{sent.offset()}"]
    assert (outcome["verdict"], outcome["reason"], rejection.value["reason"]) == ("rejected", "misplaced", "misplaced")
    for told in (outcome["detail"], rejection.value["detail"]):
        assert "partitioner=murmur2_random" in told
    assert await world.messages_in("ke") == []


def test_finds_the_schema_in_each_way_that_a_serializer_has() -> None:
    """The latest version, a look-up, and registering what is there lead to one id; another schema is not taken."""
    diffusion = Catalogue.load().newest("diffusion")
    respelled = json.dumps(json.loads(diffusion.text), sort_keys=True)
    context = SerializationContext("diffusions.europe", MessageField.VALUE)
    message = an_arrest_diffusion().model_dump()
    with serving_http(build(catalogue=Catalogue.load())) as url, SchemaRegistryClient({"url": url}) as client:
        for text, conf in (
            (None, {"auto.register.schemas": False, "use.latest.version": True}),
            (respelled, {"auto.register.schemas": False}),
            (respelled, {"auto.register.schemas": False, "normalize.schemas": True}),
            (respelled, {"auto.register.schemas": True}),
        ):
            value = AvroSerializer(client, text, conf=conf)(message, context)
            assert value is not None
            assert int.from_bytes(value[1:5], "big") == diffusion.id
            client.clear_caches()
        other = Schema(json.dumps({"type": "record", "name": "Other", "fields": []}))
        with pytest.raises(SchemaRegistryError) as refused:
            client.register_schema("diffusions.europe-value", other)
        assert (refused.value.http_status_code, refused.value.error_code) == (422, 42205)
        assert client.test_compatibility("diffusion", Schema(respelled))
        assert not client.test_compatibility_all_versions("diffusion", other)
        assert client.get_compatibility("diffusion") == "FULL_TRANSITIVE"
        assert client.get_mode("diffusion") == client.get_global_mode() == "READONLY"
        assert "diffusions.europe-value" in client.get_subjects_by_schema_id(diffusion.id)


def outcomes(records: list[Any]) -> dict[str, dict[str, Any]]:
    """An inbox's outcomes, by what they are about."""
    return {one.value["origin"]: one.value for one in records if one.subject == "outcome"}


async def remind(world: World, number: str) -> None:
    """Ask for a reminder, as a service does."""
    command = Command(
        command_id=UUID(int=7),
        kind=CommandKind.REMINDER,
        number=number,
        bureaus=("ke",),
        asked_by="tracker",
        asked_at=SystemClock().now(),
    )
    signer = world.keys.signer(BROKER)
    value = world.link.codec.encode(command)
    signature = signer.sign(RecordKind.BROKER, world.installation, value)
    headers = signed_headers(command, key_id=signer.key_id, signature=signature)
    await world.write(commands(Region.AFRICA), number, value, tuple(headers))


async def accept(world: World, bureau: str) -> None:
    """Let a bureau accept what it was given, through our own client."""
    async with Inbox.connect(bureau, data=world.data, follow=False) as given:
        async for delivery in given:
            for decision in await accept_or_purge(delivery):
                await given.acknowledge(delivery, decision.stage, reason=decision.reason)
    await eventually_async(lambda: receipts(world), seconds=20, what=f"receipts on {acks(Region.AFRICA)}")
