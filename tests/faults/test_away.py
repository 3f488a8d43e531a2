"""Kafka is away for longer than every time-out, and comes back."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from broker.embedded import EmbeddedKafka
from broker.observe.listener import HOST, free_row
from broker.settings import KafkaSettings
from tests.support.alerting import Scrapes, rules
from tests.support.chaos import Crew, Spool
from tests.support.eventually import eventually, eventually_async
from tests.support.everybody import SETTINGS, check_everything, programs, services, settled
from tests.support.processes import ServiceProcess, write_endpoints
from tests.support.world import a_world_on

AWAY_SECONDS = 30
SCRAPE_SECONDS = 5
"""As deploy/prometheus/prometheus.yml has it; the rules are evaluated as often."""

UNREACHABLE = "NoticewireKafkaUnreachable"
OBSERVED = ("router-0", "router-1", "tracker", "audit")

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


class Alarm:
    """The rule of deploy/ that tells of a Kafka that is away, over what the services answer to scrapes."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self._addresses = addresses
        self._scrapes = Scrapes()
        assert not [rule for rule in rules() if rule["alert"] == UNREACHABLE and "for" in rule]  # it would come later

    async def told_by(self) -> set[str]:
        """Scrape, and return for which services it fires."""
        await asyncio.to_thread(self._scrapes.scrape, time.time(), **self._addresses)
        return {one["instance"] for one in self._scrapes.firing().get(UNREACHABLE, ())}

    async def is_over(self) -> bool:
        """Whether everybody answers, and it fires for none."""
        told = await self.told_by()
        return not told and all(self._scrapes.taken[-1][1]["up"].values())


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.xdist_group("cluster")
async def test_nothing_is_lost_while_kafka_is_away(tmp_path: Path) -> None:
    """Within 30 s an alert tells of it and so does each log; all go on by themselves afterwards, nothing is missing."""
    node = EmbeddedKafka(tmp_path / "kafka", heap_mb=400)
    await asyncio.to_thread(node.start)
    try:
        kafka = KafkaSettings(bootstrap_servers=node.bootstrap_servers, session_timeout=timedelta(seconds=3))
        async with a_world_on(kafka, tmp_path / "noticewire") as world:
            write_endpoints(world)
            spool = Spool(world.data, publishers=1)
            members = [*services(world.data), *programs(world.data, spool)]
            first = free_row(len(OBSERVED))
            ports = {name: first + at for at, name in enumerate(OBSERVED)}
            for member in members:
                observed = {"NOTICEWIRE_OBSERVE__PORT": str(ports[member.name])} if member.name in ports else {}
                member.settings = SCALED | observed
            alarm = Alarm({name: f"http://{HOST}:{port}" for name, port in ports.items()})
            crew = Crew(members)
            async with crew.at_work():
                spool.allow(40)
                await settled(world, spool)
                assert await alarm.told_by() == set()
                spool.allow(40)
                await asyncio.to_thread(node.kill)
                began = time.monotonic()
                spool.allow(40)
                for _ in range(AWAY_SECONDS // SCRAPE_SECONDS - 1):
                    await asyncio.sleep(SCRAPE_SECONDS)  # not a wait for a state: so long is it away
                    told = await alarm.told_by()
                assert told == {*OBSERVED}  # and not later than an evaluation after this
                await asyncio.sleep(max(0.0, began + AWAY_SECONDS - time.monotonic()))
                for member in members:
                    await asyncio.to_thread(_says_so, member)
                await asyncio.to_thread(node.start)
                away = time.monotonic() - began
                await settled(world, spool)
                await eventually_async(alarm.is_over, seconds=30, what="no alert tells of Kafka any more")
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
