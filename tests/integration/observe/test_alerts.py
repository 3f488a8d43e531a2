"""Each alert is made to fire by its fault: the rules of deploy/, over what real services answer to a scrape."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import sqlite3
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import ModuleType
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest
from aiokafka import AIOKafkaProducer
from filelock import FileLock
from structlog.testing import capture_logs
from typing_extensions import override

from broker.cli.services import audit, observing, router, tracker
from broker.cli.services.observing import Watch
from broker.clock import SystemClock
from broker.errors import CorruptHistoryError
from broker.model.change import ChangeKind
from broker.model.diffusion import Diffusion
from broker.model.naming import Region, Shard, partition_of
from broker.transport import membership
from broker.transport.kafka import RawClient, TopicPartition
from broker.transport.session import Transaction
from consumers.audit.archive import Archive
from consumers.audit.files import Paths
from tests.support.alerting import Scrapes, makes_fire
from tests.support.archives import edit_state, read_state
from tests.support.builders import a_silver_diffusion, an_information_diffusion, bureaus
from tests.support.eventually import eventually_async
from tests.support.kafka import plain_write
from tests.support.processes import write_endpoints
from tests.support.serving import serving
from tests.support.shared_kafka import SharedKafka
from tests.support.world import World, a_world

SHARD = Shard(Region.AFRICA, 0)
NUMBERS = [number for number in (f"zw-d-2026-{at:06d}" for at in range(100)) if not partition_of(number.encode())]
"""All of that shard."""


@pytest.fixture
async def world(kafka: SharedKafka, prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    async with a_world(kafka.bootstrap_servers, prefix, tmp_path) as world:
        write_endpoints(world)
        yield world


@pytest.fixture(autouse=True)
def _sampled_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "SAMPLE", timedelta(milliseconds=200))


@dataclass
class Served:
    """A service of `noticewire serve`, in this process, and all scrapes of it."""

    name: str
    address: str
    client: RawClient
    scrapes: Scrapes = field(default_factory=Scrapes)

    async def scrape(self, *, later: float = 0.0) -> dict[str, list[dict[str, str]]]:
        """Scrape it, as at a moment `later` seconds from now, and return what fires."""
        await asyncio.to_thread(self.scrapes.scrape, time.time() + later, **{self.name: self.address})
        return self.scrapes.firing()

    async def fires(self, *alerts: str, later: float = 0.0, seconds: float = 60) -> None:
        """Wait until alerts fire, all of them at once."""
        deadline = time.monotonic() + seconds
        while not set(alerts) <= (now := (await self.scrape(later=later)).keys()):
            assert time.monotonic() < deadline, f"{alerts} do not all fire; seen last: {list(now)}"
            await asyncio.sleep(0.1)

    async def readiness(self) -> list[str]:
        """What /readyz says is missing."""

        def ask() -> list[str]:
            try:
                with urlopen(f"{self.address}/readyz", timeout=5) as answer:  # noqa: S310 - http on this machine
                    body = answer.read()
            except HTTPError as error:
                body = error.read()
            except OSError:
                return ["does not answer"]
            return [*json.loads(body)["problems"]]

        return await asyncio.to_thread(ask)

    async def ready(self) -> None:
        """Wait until it is ready."""
        deadline = time.monotonic() + 60
        while said := await self.readiness():
            assert time.monotonic() < deadline, f"{self.name} does not become ready; it says last: {said}"
            await asyncio.sleep(0.1)

    async def says(self, words: str) -> None:
        """Wait until /readyz says what is missing: it is looked at twice a second."""
        deadline = time.monotonic() + 10
        while words not in (now := " ".join(await self.readiness())):
            assert time.monotonic() < deadline, f"/readyz does not say {words!r}, but {now!r}"
            await asyncio.sleep(0.1)

    def value(self, metric: str) -> float:
        """The sum of a metric over its labels, as of the last scrape."""
        return sum(self.scrapes.taken[-1][1].get(metric, {}).values())

    async def reaches(self, metric: str, least: float, *, seconds: float = 30) -> None:
        """Wait until a metric is at least so much."""
        deadline = time.monotonic() + seconds
        while await self.scrape() is None or self.value(metric) < least:
            assert time.monotonic() < deadline, f"{metric} stays {self.value(metric)}, under {least}"
            await asyncio.sleep(0.1)


def a_question(number: str) -> Diffusion:
    return an_information_diffusion(number=number, circulation=bureaus("ke", "fr"))


@contextlib.asynccontextmanager
async def scraped(
    world: World, service: ModuleType, *, ends_with: type[Exception] | None = None
) -> AsyncIterator[Served]:
    async with serving(world, service, ends_with=ends_with) as one:
        yield Served(service.__name__.rpartition(".")[2], one.address, one.client)


async def fence(world: World) -> None:
    """Take the shard's transactional id, as a router would that nobody asked."""
    usurper = AIOKafkaProducer(
        bootstrap_servers=world.kafka.bootstrap_servers, transactional_id=f"{world.kafka.prefix}router-{SHARD}"
    )
    await usurper.start()
    await usurper.stop()


@pytest.mark.timeout(300)
@makes_fire(
    "NoticewireRecordsRejected",
    "NoticewireShardsFenced",
    "NoticewireTransactionsFail",
    "NoticewireShardHalted",
    "NoticewireShardsUnattended",
    "NoticewireServiceNotReady",
    "NoticewireServiceDown",
)
async def test_router(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A healthy router raises no alert; rejects, fencings, a broken ledger and its end raise theirs."""
    monkeypatch.setattr(membership, "_REMIND_SECONDS", 0.5)
    numbers = iter(NUMBERS)
    async with scraped(world, router) as served:
        await served.ready()
        await served.scrape()
        await world.publish(a_question(next(numbers)))
        await served.reaches("noticewire_delivered_records_total", 1)
        assert await served.scrape() == {}

        await world.write("notices.africa", next(numbers), b"no Avro")
        await served.fires("NoticewireRecordsRejected")
        assert served.scrapes.firing() == {"NoticewireRecordsRejected": [{"reason": "undecodable"}]}

        for _ in range(20):
            await served.ready()
            await fence(world)  # in vain, where the router is just taking the shard
            await world.publish(a_question(next(numbers)))
            before = served.value("noticewire_fencings_total")
            with contextlib.suppress(AssertionError):
                await served.reaches("noticewire_fencings_total", before + 1, seconds=3)
            if served.value("noticewire_fencings_total") > 2:
                break
        await served.fires("NoticewireShardsFenced", "NoticewireTransactionsFail")

        await served.ready()
        await plain_write(world.kafka, f"ledger.{SHARD.region}", b"no entry", partition=SHARD.partition)
        await fence(world)
        with capture_logs() as logs:
            await world.publish(a_question(next(numbers)))
            await served.fires("NoticewireShardHalted", "NoticewireShardsUnattended", "NoticewireServiceNotReady")
            await served.says("shard africa-0 is halted at ledger.africa/0/")

            async def told() -> bool:
                halts = [one for one in logs if one["event"].startswith("Shard halted")]
                return len(halts) > 1 and halts[0]["place"].startswith("ledger.africa/0/")

            await eventually_async(told, seconds=10, what="it is told of again, with the place")

    await served.fires("NoticewireServiceDown")


@makes_fire("NoticewireMessagesUnreadable")
async def test_unreadable(world: World) -> None:
    """A message that some recipient's programs are too old to read raises the alert."""
    await world.change("ke", ChangeKind.READS_SET, reads=1)
    async with scraped(world, router) as served:
        await served.ready()
        await world.publish(a_question(NUMBERS[0]))
        await served.reaches("noticewire_delivered_records_total", 2)
        assert await served.scrape() == {}
        await world.publish(a_silver_diffusion(number=NUMBERS[1], circulation=bureaus("ke", "fr")))
        await served.fires("NoticewireMessagesUnreadable")


LATE = timedelta(seconds=11)


class LateClock(SystemClock):
    """The clock of a router that comes late."""

    @override
    def now(self) -> datetime:
        """Return what that router would see."""
        return super().now() + LATE


class LateTransaction(Transaction):
    """Its transaction: Kafka's clock says the same."""

    @override
    def appended_at(self, partition: TopicPartition) -> datetime:
        """Return when it would have been appended."""
        return super().appended_at(partition) + LATE


@makes_fire("NoticewireDeliverySlow")
async def test_slow_delivery(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that lay on its feed for eleven seconds raises the alert."""
    monkeypatch.setattr("consumers.router.shard.SystemClock", LateClock)
    monkeypatch.setattr("broker.transport.session.Transaction", LateTransaction)
    async with scraped(world, router) as served:
        await served.ready()
        assert "NoticewireDeliverySlow" not in await served.scrape()
        await world.publish(a_question(NUMBERS[0]))
        await served.fires("NoticewireDeliverySlow")


@makes_fire("NoticewireClockSkewed")
async def test_skewed_clock(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A router whose clock is eleven seconds ahead of Kafka's raises the alert."""
    monkeypatch.setattr("consumers.router.shard.SystemClock", LateClock)
    async with scraped(world, router) as served:
        await served.ready()
        assert await served.scrape() == {}
        await world.publish(a_question(NUMBERS[0]))
        await served.fires("NoticewireClockSkewed")


@makes_fire("NoticewireReceiptsNotCounted", "NoticewireLagging", "NoticewireKafkaUnreachable")
async def test_tracker(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forged receipt, a store that lets nobody write, and a Kafka that is away raise their alerts."""
    ahead = 0.0
    later = partial(Watch, now=lambda: time.monotonic() + ahead, wall=lambda: time.time() + ahead)
    monkeypatch.setattr(tracker, "Watch", later)
    async with scraped(world, tracker) as served:
        await served.ready()
        assert await served.scrape() == {}

        await plain_write(world.kafka, "acks.africa", b"no receipt")
        await served.fires("NoticewireReceiptsNotCounted")
        assert served.scrapes.firing() == {"NoticewireReceiptsNotCounted": [{"reason": "undecodable"}]}

        with contextlib.closing(sqlite3.connect(world.data / "tracker.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await plain_write(world.kafka, "acks.africa", b"one more")
            await served.reaches("noticewire_lag_records", 1)
            ahead = 61.0
            await served.fires("NoticewireLagging")
            await served.says("acks.africa/0 is 1 records behind")
            other.execute("ROLLBACK")
        await served.ready()
        assert "NoticewireLagging" not in await served.scrape()

        await served.client.stop()
        assert "NoticewireKafkaUnreachable" not in await served.scrape()
        await served.fires("NoticewireKafkaUnreachable", later=18.0, seconds=10)


@makes_fire("NoticewireArchiveBehind", "NoticewireServiceNotReady", "NoticewireStorageFails")
async def test_archive_behind(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that another process writes is behind after two minutes, so is one whose disk is full; no start is."""
    ahead = 0.0
    later = partial(Watch, now=lambda: time.monotonic() + ahead, wall=lambda: time.time() + ahead)
    monkeypatch.setattr(audit, "Watch", later)
    lock = FileLock(Paths(world.data / "archive").lock)
    Path(lock.lock_file).parent.mkdir(parents=True)
    async with scraped(world, audit) as served:
        with lock:
            await served.fires("NoticewireServiceNotReady")
            assert "NoticewireArchiveBehind" not in await served.scrape()
            await served.fires("NoticewireArchiveBehind", later=121.0)
        await served.ready()
        await served.reaches("noticewire_archive_committed_timestamp_seconds", 1)
        assert await served.scrape() == {}

        with monkeypatch.context() as disk:
            disk.setattr(Archive, "commit", no_space)
            await world.publish(a_question(NUMBERS[0]))
            await served.reaches("noticewire_lag_records", 1)
            await served.fires("NoticewireStorageFails")
            assert "NoticewireArchiveBehind" not in served.scrapes.firing()
            ahead = 121.0
            await served.fires("NoticewireArchiveBehind")
            await served.says("cannot be written")
        await served.ready()
        assert "NoticewireArchiveBehind" not in await served.scrape()


def no_space(*_: object, **__: object) -> None:
    """What a full disk says to a commit."""
    raise OSError(errno.ENOSPC, "No space left on device")


@makes_fire("NoticewireArchiveIncident")
async def test_archive_incident(world: World) -> None:
    """A log with another batch than the archive's is an incident."""
    async with scraped(world, audit) as served:
        await served.ready()
        await served.reaches("noticewire_archive_committed_timestamp_seconds", 1)
        assert await served.scrape() == {}

    place = ("directory", 0)
    known = read_state(world.data / "archive").positions[place]
    changed = replace(known, last=replace(known.last, crc=known.last.crc ^ 1))
    edit_state(world.data / "archive", positions={place: changed})
    async with scraped(world, audit, ends_with=CorruptHistoryError) as served:
        await served.fires("NoticewireArchiveIncident", "NoticewireServiceNotReady")
        await served.says("archiving has stopped at directory/0/")
