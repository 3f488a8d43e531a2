"""Routers, tracker and archive are killed and stopped while 2,000 messages pass; nothing is lost, doubled or hidden."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.embedded.leash import Leashed
from broker.model.message import Message
from broker.model.naming import SHARDS, Region, feeds, inbox, ledger
from broker.store.engine import sqlite_url
from broker.transport.kafka import TopicPartition
from broker.transport.reader import RawReader
from consumers.audit.segment import leaf_of
from consumers.audit.service import AuditService
from consumers.audit.verify import rows
from consumers.bureau.host import BureauHost
from tests.support.accounts import all_acknowledged, check_inboxes, check_ledger, covered, dump, feed_ends
from tests.support.eventually import eventually_async
from tests.support.processes import ServiceProcess, write_endpoints
from tests.support.shared_kafka import SharedKafka
from tests.support.strangers import GARBAGE, Stranger, open_transaction
from tests.support.traffic import OWNERS, Sent, story
from tests.support.world import EIGHT, World, a_world

MESSAGES = 2_000
"""At least: as long as something is yet to be killed, messages go on."""

ROUNDS = 10
EACH_ROUND = 100
TWICE = 0.05
SESSION_SECONDS = 3
HANG_SECONDS = SESSION_SECONDS + 2

POINTS = (
    "after_produce:2:SIGKILL",
    "taking:1:SIGKILL",
    "after_commit:2:SIGKILL",
    "folding:1:SIGKILL",
    "before_cache:1:SIGKILL",
    "after_produce:1:SIGKILL",
    "before_produce:2:SIGKILL",
    "folding:3:SIGKILL",
    "after_produce:3:SIGKILL",
    "taking:2:SIGKILL",
)
"""Where a router kills itself, one a round; a random kill goes before each."""


class Traffic:
    """Publishes stories, some messages twice, garbage and transactions among them, as fast as it is allowed."""

    def __init__(self, world: World, stranger: Stranger, chance: random.Random) -> None:
        self.sent = Sent()
        self.published = 0
        self._allowed = 0
        self._go_on = asyncio.Event()
        self._ending = False
        self._world = world
        self._stranger = stranger
        self._chance = chance

    def allow(self, more: int) -> None:
        """Let so many more messages pass, so that there is traffic in each round."""
        self._allowed += more
        self._go_on.set()

    def last(self) -> None:
        """Let pass what is missing, and end."""
        self._ending = True
        self.allow(max(1, MESSAGES - self.published))

    @property
    def is_idle(self) -> bool:
        """Whether all that was allowed is published."""
        return not self._go_on.is_set()

    async def run(self) -> None:
        """Publish, up to what is allowed at each moment, until told that it was the last."""
        again: list[Message] = []
        serial = 0
        while not (self._ending and self.is_idle):
            serial += 1
            stories = [story(owner, serial) for owner in OWNERS]
            for step in zip(*stories, strict=True):  # seven notices at a time, step by step
                for message, to in step:
                    if self._ending and self.is_idle:
                        break
                    await self._go_on.wait()
                    await self._world.publish(message)
                    self.sent.note(message, to=to)
                    self.published += 1
                    if self.published == self._allowed:
                        self._go_on.clear()
                    if self._chance.random() < TWICE:
                        again.append(message)
                    if again and self._chance.random() < TWICE:
                        await self._world.publish(again.pop(0))
                    await self._disturb()
        await self._world.publish(*again)

    async def _disturb(self) -> None:
        """Every so often, write what nobody can route, and a transaction that is committed or aborted."""
        region, partition = self._chance.choice(list(Region)), self._chance.randrange(2)
        feed = self._chance.choice(feeds(region))
        if self.published % 40 == 0:
            _, value = GARBAGE[self.published // 40 % len(GARBAGE)]
            await self._stranger.litter(feed, partition, value)
        if self.published % 200 == 0:
            await self._stranger.litter_header(feed, partition)
            ended = await open_transaction(self._world.kafka, feed, partition, name=f"stranger-{self.published}")
            await (ended.commit_transaction() if self.published % 400 else ended.abort_transaction())
            await ended.stop()


@dataclass
class Chaos:
    """Kills and stops services while the traffic goes on."""

    world: World
    traffic: Traffic
    routers: list[ServiceProcess]
    tracker: ServiceProcess
    audit: ServiceProcess
    chance: random.Random
    kills: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Ten rounds: a kill at random, one at a named point; in between stops, and kills of tracker and archive."""
        for number in range(ROUNDS):
            self.traffic.allow(EACH_ROUND)
            victim = self.routers[number % 2]
            await self._kill(victim)
            if number in {4, 7}:
                for cache in (self.world.data / "router").glob("*.db*"):
                    cache.unlink(missing_ok=True)  # also from under the other router
            fault = POINTS[number]
            victim.start(fault=fault)
            await self._own_death(victim, fault)
            self.kills["named"] += 1
            victim.start()
            if number in {2, 6}:
                await self._stop(self.routers[(number + 1) % 2])
            if number % 2:
                await self._kill(self.tracker)
                self.tracker.start()
                await self._kill(self.audit)
                self.audit.start()

        self.traffic.last()

    async def _own_death(self, victim: ServiceProcess, fault: str) -> None:
        """Keep messages coming until one of them leads the victim to its named point."""
        dying = asyncio.create_task(
            asyncio.to_thread(victim.await_own_death, seconds=90, what=f"killed itself at {fault}")
        )
        while not dying.done():
            if self.traffic.is_idle:
                self.traffic.allow(10)
            await asyncio.wait({dying}, timeout=0.5)
        dying.result()

    async def _kill(self, victim: ServiceProcess) -> None:
        await asyncio.sleep(self.chance.uniform(0.5, 1.5))  # at a random moment: this is no wait for a state
        await asyncio.to_thread(victim.kill)
        self.kills[victim.name] += 1

    async def _stop(self, victim: ServiceProcess) -> None:
        """Let a router hang longer than its session: its shards go to the other, then it wakes up and is fenced."""
        process: Leashed = victim.running()
        await victim.hang(HANG_SECONDS)
        self.kills["hung"] += 1
        # Put out of the group, it ends by itself, for a replacement to begin anew; or it was back in time.
        await asyncio.sleep(1)
        if process.poll() is not None:
            victim.start()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.xdist_group("faults")  # what stresses the machine goes one after the other
async def test_nothing_is_lost_doubled_or_hidden(kafka: SharedKafka, prefix: str, tmp_path: Path) -> None:
    """Whatever is killed and whenever: each message once in each inbox, each offset in one entry, equal stores."""
    chance = random.Random(7)
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path) as world:
        write_endpoints(world)
        stranger = await Stranger.arrive(world.kafka)
        hanging = await open_transaction(world.kafka, "notices.africa", 0, name="hanging")
        traffic = Traffic(world, stranger, chance)
        async with _services(world, traffic, chance) as chaos, _bureaus(world) as hosting:
            publishing = asyncio.create_task(traffic.run())
            await chaos.run()
            await publishing
            await hanging.abort_transaction()  # open all the while, and nobody waited for it
            await hanging.stop()
            await _entered(world, chaos)
            assert not hosting.done(), hosting.result()
            await all_acknowledged(world, world.data / "tracker.db")
        assert chaos.kills["named"] + sum(chaos.kills[router.name] for router in chaos.routers) >= 20, chaos.kills
        assert chaos.kills["hung"] == 2
        assert (chaos.kills["tracker"], chaos.kills["audit"]) == (5, 5)
        await stranger.leave()

        await check_inboxes(world, traffic.sent)
        await _check_entries(world, traffic)
        assert await _aborted_batches(world) >= 3
        await _check_tracker(world)
        await _check_archive(world)


@contextlib.asynccontextmanager
async def _services(world: World, traffic: Traffic, chance: random.Random) -> AsyncIterator[Chaos]:
    settings = {
        "NOTICEWIRE_KAFKA__SESSION_TIMEOUT": f"PT{SESSION_SECONDS}S",
        "NOTICEWIRE_KAFKA__HEARTBEAT_INTERVAL": "PT0.5S",
    }
    routers = [ServiceProcess("router", world.data, f"router-{number}", settings) for number in range(2)]
    tracker = ServiceProcess("tracker", world.data, "tracker", settings)
    audit = ServiceProcess("audit", world.data, "audit", settings)
    chaos = Chaos(world, traffic, routers, tracker, audit, chance)
    everything = [*routers, tracker, audit]
    for process in everything:
        process.start()
    try:
        yield chaos
    finally:
        for process in everything:
            await asyncio.to_thread(process.stop)


@contextlib.asynccontextmanager
async def _bureaus(world: World) -> AsyncIterator[asyncio.Task[None]]:
    stop = asyncio.Event()
    root_public = world.keys.signer("ipsg").public
    async with BureauHost.connect(data=world.data, kafka=world.kafka, root_public=root_public) as host:
        hosting = asyncio.create_task(host.run(stop))
        try:
            yield hosting
        finally:
            stop.set()
            await hosting


def _alive(chaos: Chaos) -> None:
    for router in chaos.routers:  # one that was put out of the group ends, as a supervisor expects
        if router.process is not None and router.process.poll() is not None:
            router.start()
    for process in (chaos.tracker, chaos.audit):
        process.running()


async def _entered(world: World, chaos: Chaos) -> None:
    """Wait until the ledger covers every feed to its end."""

    async def probe() -> bool:
        _alive(chaos)
        entered = await covered(world)
        ends = await feed_ends(world)
        return all(entered.get(feed, 0) == end for feed, end in ends.items())

    await eventually_async(probe, seconds=90, what="every feed offset is entered")


async def _check_entries(world: World, traffic: Traffic) -> None:
    """Each offset of each feed is covered by exactly one entry, and every kind of entry is there."""
    kinds = await check_ledger(world)
    assert kinds["routed"] == traffic.published >= MESSAGES
    assert kinds["repeat"] > traffic.published * TWICE / 2
    assert kinds["rejected"] >= traffic.published // 40
    assert kinds["passed_over"] >= traffic.published // 200


async def _aborted_batches(world: World) -> int:
    """Count the batches that killed routers left behind in inboxes and ledgers, by raw reading."""
    places = [TopicPartition(inbox(one), 0) for one in (*EIGHT, "ipsg")]
    places += [TopicPartition(ledger(shard.region), shard.partition) for shard in SHARDS]
    ends = await world.link.client.end_offsets(places, committed=True)
    reader = RawReader(world.link.client, dict.fromkeys(places, 0), committed=True, lane="aborted")
    found = 0
    try:
        while any(reader.positions[place] < end for place, end in ends.items()):
            for place, batches in await reader.poll():
                found += sum(batch.is_aborted for batch in batches)
                reader.advance(place, batches[-1].next_offset)
    finally:
        await reader.close()
    return found


async def _check_tracker(world: World) -> None:
    """The tracker that was killed ends equal to one that never was, and to itself after its store was deleted."""
    killed = await dump(world.data / "tracker.db")
    assert len(killed["deliveries"]) > MESSAGES
    assert await _tracked_anew(world, world.data / "never-killed.db") == killed
    for file in world.data.glob("tracker.db*"):
        file.unlink()
    assert await _tracked_anew(world, world.data / "tracker.db") == killed


async def _tracked_anew(world: World, store: Path) -> dict[str, list[tuple[object, ...]]]:
    tracker = ServiceProcess("tracker", world.data, store.stem, {"NOTICEWIRE_TRACKER__URL": sqlite_url(store)})
    tracker.start()
    try:
        await all_acknowledged(world, store)
    finally:
        await asyncio.to_thread(tracker.stop)
    return await dump(store)


async def _check_archive(world: World) -> None:
    """The archive that was killed has the leaves of one that never was, partition by partition."""
    await _archived_anew(world, world.data / "archive")  # to the end: the service was stopped before the last records
    killed = _leaves(world.data / "archive")
    await _archived_anew(world, world.data / "never-killed")
    assert _leaves(world.data / "never-killed") == killed
    shutil.rmtree(world.data / "archive")
    await _archived_anew(world, world.data / "archive")
    assert _leaves(world.data / "archive") == killed


async def _archived_anew(world: World, archive: Path) -> None:
    service = AuditService(
        client=world.link.client,
        archive=archive,
        signer=world.keys.signer("audit"),
        installation=world.installation,
    )
    await service.run_to_end()


def _leaves(archive: Path) -> dict[tuple[str, int], list[bytes]]:
    leaves: dict[tuple[str, int], list[bytes]] = defaultdict(list)
    for _, row in rows(archive):
        leaves[row["topic"], row["partition"]].append(leaf_of(row))
    return leaves
