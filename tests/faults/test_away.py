"""Kafka is away for longer than every time-out, and comes back."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from broker.embedded import EmbeddedKafka
from broker.settings import KafkaSettings
from tests.support.chaos import Crew, Spool
from tests.support.eventually import eventually
from tests.support.everybody import SETTINGS, check_everything, programs, services, settled
from tests.support.processes import ServiceProcess, write_endpoints
from tests.support.world import a_world_on

LONG = os.environ.get("NOTICEWIRE_CHAOS") == "long"
AWAY_SECONDS = 30 if LONG else 12

SCALED = SETTINGS | {
    "NOTICEWIRE_KAFKA__TRANSACTION_TIMEOUT": "PT8S",
    "NOTICEWIRE_KAFKA__DELIVERY_TIMEOUT": "PT5S",
    "NOTICEWIRE_KAFKA__METADATA_TIMEOUT": "PT3S",
}
"""Each shorter than Kafka is away."""

WORDS = {
    "router": ("Shard unavailable", "Membership disturbed", "was put out of the group"),
    "tracker": ("Shard unavailable", "Membership disturbed", "was put out of the group"),
    "audit": ("Archive waits",),
    "bureaus": ("Inboxes wait for Kafka", "Inbox waits for Kafka", "Receipts wait for Kafka"),
    "publisher": ("Publishing again", "unavailable: "),
}
"""What the log of each says of it, one of these at least."""


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.xdist_group("cluster")
async def test_nothing_is_lost_while_kafka_is_away(tmp_path: Path) -> None:
    """Everybody says in the log that Kafka is away, goes on by itself when it is back, and nothing is missing."""
    node = EmbeddedKafka(tmp_path / "kafka", heap_mb=400)
    await asyncio.to_thread(node.start)
    try:
        kafka = KafkaSettings(bootstrap_servers=node.bootstrap_servers, session_timeout=timedelta(seconds=3))
        async with a_world_on(kafka, tmp_path / "noticewire") as world:
            write_endpoints(world)
            spool = Spool(world.data, publishers=1)
            members = [*services(world.data), *programs(world.data, spool)]
            for member in members:
                member.settings = SCALED
            crew = Crew(members)
            async with crew.at_work():
                spool.allow(40)
                await settled(world, spool)
                spool.allow(40)
                await asyncio.to_thread(node.kill)
                began = time.monotonic()
                spool.allow(40)
                await asyncio.sleep(AWAY_SECONDS)  # not a wait for a state: so long is it away
                for member in members:
                    await asyncio.to_thread(_says_so, member)
                await asyncio.to_thread(node.start)
                away = time.monotonic() - began
                await settled(world, spool)
                sys.stderr.write(f"\naway for {away:.0f} s, all acknowledged after {time.monotonic() - began:.0f} s; ")
                sys.stderr.write(f"started again: {dict(crew.restarts)}\n")
                await asyncio.to_thread(node.kill)
                await crew.stop()  # also while it is away, each ends well
            await asyncio.to_thread(node.start)
            await check_everything(world, spool)
            for member in members:
                assert not member.said("Traceback"), member.tail(60)
    finally:
        await asyncio.to_thread(node.stop)


def _says_so(member: ServiceProcess) -> None:
    words = WORDS[member.name.partition("-")[0]]
    eventually(lambda: any(map(member.said, words)), seconds=20, what=f"{member.name} says that Kafka is away")
