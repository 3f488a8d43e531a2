"""An installation whose schemas have the ids of a registry of somebody else's, by which confluent-kafka reads them."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer

from broker.endpoints import Endpoints, KafkaEndpoint
from broker.model.naming import Region, acks, inbox, shard_of
from broker.model.receipt import Stage
from broker.schema.catalogue import Catalogue
from broker.schema.registry import load_codec, register
from broker.settings import SchemaRegistrySettings
from consumers.bureau.client import Inbox
from tests.support.builders import an_arrest_diffusion, bureaus
from tests.support.http import serving_http
from tests.support.kafka import plain_read
from tests.support.registries import FIRST_ID, MemoryRegistry
from tests.support.shared_kafka import SharedKafka
from tests.support.world import a_world


async def test_every_record_has_its_ids(
    kafka: SharedKafka, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published, routed and acknowledged with the registry's ids; a bureau that starts while it is away works, too."""
    memory = MemoryRegistry()
    diffusion = an_arrest_diffusion(owner="zw", circulation=bureaus("ke"))
    with serving_http(memory.app()) as url:
        settings = SchemaRegistrySettings(url=url)
        register(settings, tmp_path, catalogue=Catalogue.load(), prefix=prefix)
    codec = load_codec(settings, tmp_path, prefix=prefix)
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path, bureaus=("zw", "ke"), codec=codec) as world:
        await world.publish(diffusion)
        await world.route(shard_of(diffusion.number, Region.AFRICA))
        here = KafkaEndpoint(bootstrap_servers=kafka.bootstrap_servers, prefix=prefix)
        Endpoints(kafka=here, installation=world.installation).write(tmp_path)
        monkeypatch.setenv("NOTICEWIRE_SCHEMA_REGISTRY__URL", url)
        async with Inbox.connect("ke", data=tmp_path, follow=False) as given:
            async for delivery in given:
                await given.acknowledge(delivery, Stage.ACCEPTED)
        topics = ["directory", "diffusions.africa", "ledger.africa", inbox("zw"), inbox("ke"), acks(Region.AFRICA)]
        records = await plain_read(world.kafka, *topics)

    values = [record.value or b"" for record in records]
    assert {record.topic.removeprefix(prefix) for record in records} == set(topics)
    assert {int.from_bytes(value[1:5], "big") for value in values} <= set(range(FIRST_ID, FIRST_ID + len(memory.texts)))
    with serving_http(memory.app()) as again, SchemaRegistryClient({"url": again}) as client:
        deserialize = AvroDeserializer(client)
        read = [deserialize(value) for value in values]
    assert sum(isinstance(one, dict) and one.get("kind") == "arrest" for one in read) == 2  # the feed's, and ke's copy
