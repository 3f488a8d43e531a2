from __future__ import annotations

import time

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from broker.members.seed import seeds
from broker.settings import KafkaSettings
from broker.topics.apply import TopicAdmin
from broker.topics.plan import Difference, Drift, plan
from tests.support.eventually import eventually, eventually_async
from tests.support.kafka import plain_read, plain_write
from tests.support.shared_kafka import SharedKafka


@pytest.fixture
def settings(kafka: SharedKafka, prefix: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=kafka.bootstrap_servers, prefix=prefix)


async def test_applied_twice_the_second_time_changes_nothing(settings: KafkaSettings) -> None:
    """The plan is made whole, has no drift then, and applying it again mends nothing."""
    specs, admin = plan(["zw", "fr"], kafka=settings), TopicAdmin(settings)
    assert {one.difference for one in await admin.drift(specs)} == {Difference.MISSING}

    mended = await admin.apply(specs)

    assert [one.topic for one in mended] == [spec.name for spec in specs]
    assert await admin.drift(specs) == []
    assert await admin.apply(specs) == []


async def test_a_setting_that_somebody_altered_is_shown_and_mended(settings: KafkaSettings, kafka: SharedKafka) -> None:
    """What a plain admin client altered shows as drift with both values, and is put right."""
    specs, admin = plan(["zw"], kafka=settings), TopicAdmin(settings)
    await admin.apply(specs)
    change = ConfigEntry("retention.ms", "60000", incremental_operation=AlterConfigOpType.SET)
    altered = ConfigResource(ResourceType.TOPIC, f"{settings.prefix}inbox.zw", incremental_configs=[change])
    for future in kafka.admin.incremental_alter_configs([altered]).values():
        future.result()

    expected = [Drift("inbox.zw", Difference.SETTING, "retention.ms", "-1", "60000")]
    seen = await eventually_async(lambda: admin.drift(specs), seconds=10, what="the broker knows of the change")
    assert seen == expected
    assert await admin.apply(specs) == expected
    assert await admin.drift(specs) == []


async def test_nothing_is_deleted_without_being_told(settings: KafkaSettings, kafka: SharedKafka) -> None:
    """An inbox that is not planned, and what it holds, stays until deletion is asked for; others' topics always do."""
    admin = TopicAdmin(settings)
    await admin.apply(plan(["zw", "fr"], kafka=settings))
    others = f"{settings.prefix}orders"
    for future in kafka.admin.create_topics([NewTopic(others, 1, 1)]).values():
        future.result()
    await plain_write(settings, "inbox.fr", b"kept")
    fewer = plan(["zw"], kafka=settings)
    unplanned = [Drift("inbox.fr", Difference.UNPLANNED)]

    assert await admin.apply(fewer) == []
    assert await admin.drift(fewer) == unplanned
    assert [record.value for record in await plain_read(settings, "inbox.fr")] == [b"kept"]

    assert await admin.apply(fewer, delete_unplanned=True) == unplanned
    eventually(
        lambda: f"{settings.prefix}inbox.fr" not in kafka.admin.list_topics().topics, seconds=10, what="inbox deleted"
    )
    assert await admin.drift(fewer) == []
    assert others in kafka.admin.list_topics().topics


async def test_partitions_are_never_changed(settings: KafkaSettings, kafka: SharedKafka) -> None:
    """A topic with other partitions than planned is shown and left: a notice's shard must never change."""
    name = f"{settings.prefix}ledger.africa"
    for future in kafka.admin.create_topics([NewTopic(name, 3, 1)]).values():
        future.result()
    specs, admin = plan([], kafka=settings), TopicAdmin(settings)

    await admin.apply(specs)

    assert await admin.drift(specs) == [Drift("ledger.africa", Difference.PARTITIONS, planned="2", found="3")]
    assert len(kafka.admin.list_topics().topics[name].partitions) == 3


@pytest.mark.slow
async def test_all_261_topics_are_made_within_seconds(settings: KafkaSettings) -> None:
    """The whole installation's topics exist with a leader for each partition, soon enough for a demo."""
    specs, admin = plan([seed.code for seed in seeds() if not seed.is_service], kafka=settings), TopicAdmin(settings)
    start = time.monotonic()

    await admin.apply(specs)

    assert time.monotonic() - start < 30
    assert await admin.drift(specs) == []
