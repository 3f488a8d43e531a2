from __future__ import annotations

import importlib.metadata

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.producer.message_accumulator import BatchBuilder, MessageBatch
from aiokafka.structs import TopicPartition

from broker.transport.fanout import CopiedBatch
from broker.transport.kafka import PRIVATE_PARTS


async def test_every_private_part_is_there() -> None:
    """Each private attribute of aiokafka that the transport uses exists in the version that is locked."""
    producer = AIOKafkaProducer(transactional_id="x")
    consumer = AIOKafkaConsumer()
    client = AIOKafkaClient()
    subscription = SubscriptionState()
    coordinator = GroupCoordinator(client, subscription)
    builder = BatchBuilder(1000, 0)
    batch = MessageBatch(TopicPartition("t", 0), builder, 1, 0)
    owners = [
        producer,
        producer._sender,
        producer._txn_manager,
        producer._message_accumulator,
        consumer,
        client,
        coordinator,
        builder,
        batch,
    ]
    by_name = {type(owner).__name__: owner for owner in owners}

    assert set(PRIVATE_PARTS) == set(by_name)
    missing = [
        f"{name}.{part}" for name, parts in PRIVATE_PARTS.items() for part in parts if not hasattr(by_name[name], part)
    ]
    assert missing == []

    await coordinator.close()
    await producer.stop()
    await consumer.stop()
    await client.close()


def test_the_version_is_the_one_that_was_tried() -> None:
    """Private parts are used, so another minor version of aiokafka is a decision and never an accident."""
    assert importlib.metadata.version("aiokafka").startswith("0.14.")


@pytest.mark.parametrize("method", PRIVATE_PARTS["BatchBuilder"])
def test_a_copied_batch_has_what_send_batch_needs(method: str) -> None:
    """A copied batch has every method of aiokafka's own that the producer calls."""
    assert callable(getattr(CopiedBatch, method))
