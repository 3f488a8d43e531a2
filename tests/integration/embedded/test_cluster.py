"""Three nodes on this machine, and one of them away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient

from broker.embedded import EmbeddedCluster
from broker.embedded.kafka import brokers_of
from broker.settings import KafkaSettings
from broker.topics.apply import TopicAdmin
from broker.topics.plan import plan
from broker.transport.fanout import Outgoing
from broker.transport.publisher import Publisher
from tests.support.eventually import eventually, eventually_async
from tests.support.kafka import plain_read

FEED = "notices.africa"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[EmbeddedCluster]:
    """Three nodes, running."""
    with EmbeddedCluster(tmp_path / "kafka") as cluster:
        yield cluster


@pytest.mark.slow
@pytest.mark.xdist_group("cluster")  # three JVMs once at a time
async def test_what_was_accepted_survives_its_leader(cluster: EmbeddedCluster) -> None:
    """With the topics as planned for production, a record survives SIGKILL of its leader, and the next is taken."""
    kafka = KafkaSettings(bootstrap_servers=cluster.bootstrap_servers, replication=3, in_sync_min=2)
    await TopicAdmin(kafka).apply(plan(["zw"], kafka=kafka))
    await eventually_async(lambda: _is_planned(kafka), seconds=10, what="each node knows of every topic")
    partition = AdminClient({"bootstrap.servers": cluster.bootstrap_servers}).list_topics(FEED, timeout=10).topics[FEED]
    leader = partition.partitions[0].leader
    assert sorted(partition.partitions[0].replicas) == [1, 2, 3]

    async with Publisher(kafka, client_id="test") as publisher:
        await (await publisher.send(FEED, 0, Outgoing(b"k", b"before", ())))
        await asyncio.to_thread(cluster.kill, leader)
        await (await publisher.send(FEED, 0, Outgoing(b"k", b"after", ())))
    assert [record.value for record in await plain_read(kafka, FEED)] == [b"before", b"after"]

    await asyncio.to_thread(cluster.restart, leader)
    assert brokers_of(cluster.own_address(leader)) == {1, 2, 3}
    eventually(lambda: _in_sync(cluster), seconds=30, what="the node that was killed is in sync again")


def test_a_folder_remembers_its_cluster(tmp_path: Path) -> None:
    """Made anew on the same folder, a cluster has the same ports, of which no two nodes share one."""
    first, second = EmbeddedCluster(tmp_path), EmbeddedCluster(tmp_path)

    assert first.bootstrap_servers == second.bootstrap_servers
    assert len(set(first.bootstrap_servers.split(","))) == 3


async def _is_planned(kafka: KafkaSettings) -> bool:
    return await TopicAdmin(kafka).drift(plan(["zw"], kafka=kafka)) == []


def _in_sync(cluster: EmbeddedCluster) -> bool:
    topics = AdminClient({"bootstrap.servers": cluster.bootstrap_servers}).list_topics(timeout=10).topics.values()
    return all(len(one.isrs) == len(one.replicas) for topic in topics for one in topic.partitions.values())
